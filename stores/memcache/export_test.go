package memcachestore

// Expiration is what is sent for a ttl.
var Expiration = expiration

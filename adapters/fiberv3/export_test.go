package fiberv3session

// Secure is the default of Options.Secure.
var Secure = secure

package fibersession

// Secure is the default of Options.Secure.
var Secure = secure()

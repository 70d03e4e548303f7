package ginsession

// Guarded is Guard around handlers of any kind.
var Guarded = enter

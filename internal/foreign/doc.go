// Package foreign proves stores/foreign and adapters/gorilla with the libraries that
// they are for.
package foreign

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
)

// An output prints each thing as a line of a table, or as JSON.
type output struct {
	w    io.Writer
	json bool

	headed bool
}

// row prints one line, below the head of the table before the first one.
func (o *output) row(thing any, format string, head []any, cells ...any) error {
	if o.json {
		return o.object(thing)
	}
	if !o.headed {
		o.headed = true
		if err := o.line(format, head...); err != nil {
			return err
		}
	}
	return o.line(format, cells...)
}

func (o *output) line(format string, cells ...any) error {
	text := strings.TrimRight(fmt.Sprintf(format, cells...), " ")
	_, err := fmt.Fprintln(o.w, text)
	return err
}

// say prints a sentence, or thing as JSON.
func (o *output) say(thing any, format string, a ...any) error {
	if o.json {
		return o.object(thing)
	}
	return o.line(format, a...)
}

func (o *output) object(thing any) error {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(thing); err != nil {
		return err
	}
	return o.line("%s", printable(strings.TrimSuffix(text.String(), "\n")))
}

// printable is text that does nothing to a terminal, and stays valid JSON where it is.
// Who can write to the store may have written anything.
func printable(text string) string {
	if !strings.ContainsFunc(text, unprintable) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !unprintable(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// when prints a time, or a dash.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// timestamp is t for JSON, nil for none.
func timestamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

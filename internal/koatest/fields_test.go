package koatest_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/jartest"
	"github.com/gensession/gensession/internal/servers"
)

// TestRequirement33CookieFields: in random Cookie fields, most of them odd, we find
// the id that Koa finds, or none where it is no id, or not the only one.
func TestRequirement33CookieFields(t *testing.T) {
	t.Parallel()
	const id, name = "0123456789abcdef", "koa.sid"
	koa := startKoa(t, servers.SharedRedis(t).URL(), "", "unused")
	b := newBrowser(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := random{rand.New(rand.NewPCG(seed, 0))}
	pieces := []string{
		name + "=" + id, name + "=" + id, name + "=x", name, name + "=", name + " = " + id, "x" + name + "=" + id, name + ".sig=" + id, strings.ToUpper(name) + "=" + id,
		name + `="` + id + `"`, name + `="` + id, name + "=" + id + `"`, `"` + name + `"=` + id, "a=b", "a", "=", "==", "a=b=c", `a="b; ` + name + "=" + id + `"`, "$Version=1",
		name + "==" + id, name + "=" + id + ",c=d", name + "=" + id + " x", name + "=\t" + id, "k%6fa.sid=" + id, name + "[]=" + id,
	}
	separators := []string{"; ", "; ", ";", " ;", ";;", ",", " ", "; ; ", ";\t"}
	fields := make([]string, max(500, many()))
	for i := range fields {
		for range 1 + r.IntN(5) {
			fields[i] += pieces[r.IntN(len(pieces))] + separators[r.IntN(len(separators))]
		}
	}
	var theirs []*string
	if err := json.Unmarshal([]byte(b.post(koa, "/cookies", encode(map[string]any{"name": name, "fields": fields}))), &theirs); err != nil {
		t.Fatal(err)
	}
	store := &asked{}
	o := core.KoaCompat()
	o.Cookie.Signed = core.Off
	m, err := core.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	found := 0
	for i, field := range fields {
		store.key = ""
		v, _ := m.NewVisit(&jartest.Jar{Cookies: []string{field}}, nil)
		if err := v.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		ours, koas := strings.TrimPrefix(store.key, "koa:sess:"), ""
		if theirs[i] != nil {
			koas = *theirs[i]
		}
		trimmed := strings.Trim(koas, " \t") // which is no part of a value for us
		switch {
		case ours == koas:
			if ours != "" {
				found++
			}
		case ours == "" && strings.Trim(trimmed, "abcdefghijklmnopqrstuvwxyz0123456789") != "": // no id
		case ours == trimmed || ours == strings.Trim(trimmed, `"`): // blanks around the value
		case strings.Count(field, name) > 1: // we want the only one, and look at all
			if ours != "" && ours != id && ours != "x" {
				t.Errorf("%q: we find %q", field, ours)
			}
		case ours == "" && strings.Contains(field, name+`="`+id) && !strings.Contains(field, id+`"`): // Koa cuts a letter off behind a quote that has no end
		case (ours == id || ours == "x") && koas == "" && (strings.Contains(field, name+" ") || strings.Contains(field, "\t"+name)): // blanks around the name
		default:
			t.Errorf("%q: we find %q, Koa %q", field, ours, koas)
		}
	}
	if found < len(fields)/20 {
		t.Errorf("%d of %d fields have an id for both: the test shows little", found, len(fields))
	}
}

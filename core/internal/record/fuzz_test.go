package record

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/gensession/gensession/core/internal/jsontext"
)

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(` { "a" : [ 1 , -0.5e+3 , true , false , null , "\ud83d\ude00" ] , "a" : { "b" : { } } } `))
	f.Add([]byte(recordText("key", `,"cookie":{"maxAge":1.5,"expires":"2026-01-01T00:00:00.000Z","path":"/a"},"user":"ada"`)))
	f.Add([]byte(`{"_gs":{"v":1,"k":"` + keyMark("key") + `","c":1,"o":["ada","x",""],"u":2,"w":"ada","\u0078":{"y":[1 ]},"s":"00000000"},"a":1}`))
	f.Add([]byte(recordText("another", `,"a":1`)))
	f.Add([]byte(`{"_gs":{"v":1,"k":"` + keyMark("key") + `","c":9223372036854775807,"d":{"s":2,"h":1,"x":9,"a":-1}},"\ud800":"\u2028","` + "\xff" + `":1}`))
	f.Add([]byte(`{"cookie":{"domain":"a;b","sameSite":true,"priority":"HIGH","maxAge":1e-9,"httpOnly":false,"secure":true,"partitioned":true}}`))
	f.Add([]byte("\ufeff{}"))
	f.Add([]byte(`{"a":1E400,"b":-0,"c":1e999999999,"d":01}`))
	f.Add([]byte(`{"a":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`))
	f.Add([]byte("{" + strings.Repeat(`"a":1,"b":2,`, 40) + `"c":3}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		members, ok := jsontext.ParseObject(data, nil)
		isObject := json.Valid(data) && bytes.TrimLeft(data, " \t\r\n")[0] == '{'
		if ok != isObject {
			t.Fatalf("%q: parsed %v, an object %v", data, ok, isObject)
		}
		if ok {
			var want map[string]json.RawMessage
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			if len(members) != len(want) {
				t.Fatalf("%q: %d members, want %d", data, len(members), len(want))
			}
			for _, m := range members {
				if w, ok := want[string(m.Name)]; !ok || !bytes.Equal(m.Raw, w) {
					t.Fatalf("%q: %q is %q, want %q", data, m.Name, m.Raw, w)
				}
			}
		}
		checkRecord(t, data, false)
		checkRecord(t, data, true)
	})
}

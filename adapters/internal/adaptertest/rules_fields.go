package adaptertest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/internal/cookiefields"
)

// fieldRules are those of a Cookie field on its way to the core.
var fieldRules = []rule{
	{"R33 the recorded Cookie fields arrive as they were sent", func(t *testing.T, s *suite) {
		fields, _, err := cookiefields.Recorded()
		if err != nil {
			t.Fatal(err)
		}
		apps, readers := map[string]*app{}, map[string]*cookiefields.Reader{}
		read := func(x *Exchange) error {
			session, err := x.From()
			if err == nil && !session.IsNew() {
				x.Write(string(session.ID()))
			}
			return err
		}
		found, refused := 0, 0
		for _, f := range fields {
			if strings.ContainsAny(f.Text, "\r\n") {
				continue // which end a field
			}
			a, reader := apps[f.Name], readers[f.Name]
			if a == nil {
				o := core.KoaCompat()
				o.Name, o.Cookie.Signed = f.Name, core.Off
				if strings.HasPrefix(f.Name, "__Host-") {
					o.Cookie.Secure, o.InsecureAllowHTTP = core.On, true
				}
				o.Keys = core.Keyring{}
				if reader, err = cookiefields.NewReader(f.Name, nil); err != nil {
					t.Fatal(err)
				}
				defer reader.Close()
				a = s.app(*o, read)
				apps[f.Name], readers[f.Name] = a, reader
			}
			want, _, err := reader.Read(f.Text)
			if err != nil {
				t.Fatal(err)
			}
			if want != "" {
				if err := a.memory.Set(context.Background(), "koa:sess:"+want, []byte(`{"cookie":{},"n":1}`), time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			answer := a.exchange("/", "Cookie: "+f.Text)
			_, got, _ := strings.Cut(answer, "\r\n\r\n")
			switch ok := strings.HasPrefix(answer, "HTTP/1.1 200 "); {
			case !ok && (f.Refused || len(f.Text) > 16<<10):
				refused++
			case !ok:
				t.Errorf("the server has refused the Cookie field %.200q: %.200q", f.Text, answer)
			case got != want:
				t.Errorf("of the Cookie field %.200q came the id %q, want %q", f.Text, got, want)
			case want != "":
				found++
			}
		}
		if found < 300 || refused > 150 {
			t.Errorf("%d sessions were found, and %d fields refused: the test shows little", found, refused)
		}
	}},
}

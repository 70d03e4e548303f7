package httpsession_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// W42: the client sees the status, and the log the cause, once.
func TestW42TheCauseIsForTheLog(t *testing.T) {
	memory := memorystore.New(nil)
	t.Cleanup(func() { memory.Close() })
	store := storetest.NewFaulty(memory)
	var out bytes.Buffer
	m, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}, FailFast: true, Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	own := httpsession.HandlerFunc(func(http.ResponseWriter, *http.Request, *core.Session) error {
		return errors.New("no such table: users")
	})
	encode := httpsession.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request, s *core.Session) error {
		return s.Set("n", make(chan int))
	})
	save := httpsession.HandlerFunc(func(_ http.ResponseWriter, r *http.Request, s *core.Session) error {
		return errors.Join(s.Set("n", 1), s.Save(r.Context()))
	})
	commit := httpsession.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request, s *core.Session) error { return s.Set("n", 1) })
	late := httpsession.HandlerFunc(func(w http.ResponseWriter, _ *http.Request, s *core.Session) error {
		w.WriteHeader(200)
		return s.Set("n", 1)
	})
	list := httpsession.HandlerFunc(func(_ http.ResponseWriter, r *http.Request, s *core.Session) error {
		_, err := m.ListByOwner(r.Context(), s.Owner(), s)
		return err
	})
	end := httpsession.HandlerFunc(func(_ http.ResponseWriter, r *http.Request, s *core.Session) error {
		return m.DestroyByHandle(r.Context(), s.Owner(), "x")
	})
	byID := httpsession.HandlerFunc(func(_ http.ResponseWriter, r *http.Request, _ *core.Session) error {
		return m.SetByID(r.Context(), "odd id", map[string]int{}, 0)
	})
	hangup := httpsession.HandlerFunc(func(w http.ResponseWriter, _ *http.Request, _ *core.Session) error {
		w.WriteHeader(200)
		return io.ErrClosedPipe
	})
	answers := func(_ http.ResponseWriter, _ *http.Request, err error) {}
	for name, c := range map[string]struct {
		handler http.Handler
		refuse  bool
		options *httpsession.Options
		status  int
		logged  string
	}{
		"of the handler":              {own, false, nil, 500, "no such table"},
		"of the handler, with Error":  {own, false, &httpsession.Options{Error: answers}, 200, ""},
		"of Set":                      {encode, false, nil, 500, "chan int"},
		"of Save":                     {save, true, nil, 503, "disk is full"},
		"of Set, too late":            {late, false, nil, 200, "already committed"},
		"of Set, too late with Error": {late, false, &httpsession.Options{Error: answers}, 200, "already committed"},
		"of a list of devices":        {list, false, nil, 500, "set Options.Owners"},
		"of the end of a device":      {end, false, nil, 500, "set Options.Owners"},
		"of a session by its id":      {byID, false, nil, 500, "an id of 6 characters"},
		"of a write":                  {hangup, false, nil, 200, ""},
		"of the commit":               {commit, true, nil, 503, "disk is full"},
		"of the commit, with Error":   {commit, true, &httpsession.Options{Error: answers}, 200, "disk is full"},
	} {
		t.Run(name, func(t *testing.T) {
			out.Reset()
			if c.refuse {
				store.Before(func(_ context.Context, op storetest.Op, _ string) error {
					if op == storetest.OpSetVersion {
						return errors.Join(core.ErrRefused, errors.New("disk is full"))
					}
					return nil
				})
				defer store.Before(nil)
			}
			w := httptest.NewRecorder()
			httpsession.New(m, c.options)(c.handler).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			body, _ := io.ReadAll(w.Body)
			if w.Code != c.status || strings.TrimSpace(string(body)) != map[bool]string{true: http.StatusText(c.status)}[c.status >= 400] {
				t.Errorf("%d %q", w.Code, body)
			}
			n := 0
			if c.logged != "" {
				n = 1
			}
			if strings.Count(out.String(), "\n") < n || n > 0 && !strings.Contains(out.String(), c.logged) || n == 0 && out.Len() > 0 {
				t.Errorf("the log is %s", &out)
			}
			if name == "of the handler" && !strings.Contains(out.String(), "level=WARN msg=\"session failed\" op=handler") {
				t.Errorf("the log is %s", &out)
			}
		})
	}
	t.Run("the middleware is missing", func(t *testing.T) {
		var out bytes.Buffer
		server := httptest.NewUnstartedServer(own)
		server.Config.ErrorLog = log.New(&out, "", 0)
		server.Start()
		defer server.Close()
		res, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 500 || !strings.Contains(out.String(), "the middleware is missing") {
			t.Errorf("%d, the log is %q", res.StatusCode, &out)
		}
	})
	t.Run("the middleware is missing, and the server has no log of its own", func(t *testing.T) {
		var out bytes.Buffer
		log.SetOutput(&out)
		defer log.SetOutput(os.Stderr)
		server := httptest.NewServer(own)
		defer server.Close()
		res, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 500 || !strings.Contains(out.String(), "the middleware is missing") {
			t.Errorf("%d, the log is %q", res.StatusCode, &out)
		}
	})
}

package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	ginsession "github.com/gensession/gensession/adapters/gin"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/sessiontest"
	memorystore "github.com/gensession/gensession/stores/memory"
)

// password wants a login that is not long ago.
func password(c *gin.Context, s *core.Session) error {
	if time.Since(s.LoggedIn()) > 10*time.Minute {
		c.String(http.StatusForbidden, "say your password again\n")
		return nil
	}
	c.String(http.StatusOK, "your new password, please\n")
	return nil
}

// begin test
func TestPasswordWantsAFreshLogin(t *testing.T) {
	store := memorystore.New(nil)
	defer store.Close()
	sessions, err := core.New(store, &core.Options{Keys: [][]byte{[]byte("Zk3v9QwX1rT7mB5nH2cJ8pL4sD6fG0yA")}})
	if err != nil {
		t.Fatal(err)
	}
	defer sessions.Close()
	router := gin.New()
	router.Use(ginsession.New(sessions, nil))
	router.GET("/password", ginsession.Handler(password))

	for age, status := range map[time.Duration]int{time.Minute: 200, time.Hour: 403} {
		r := httptest.NewRequest("GET", "/password", nil)
		r.Header = sessiontest.NewAged(t, sessions, age, func(s *core.Session) error {
			return errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "ada"))
		})
		w := httptest.NewRecorder()
		if router.ServeHTTP(w, r); w.Code != status {
			t.Errorf("%v after the login: %d, want %d", age, w.Code, status)
		}
	}
}

// end test

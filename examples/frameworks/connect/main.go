// Command connect is a login with connect-go, over its own protocol and gRPC: a
// remote call finds the session in its context. It uses ready-made messages, so that
// there is nothing to generate.
//
//	curl -c jar -b jar -H 'Content-Type: application/json' -d '{}' http://127.0.0.1:3000/example.v1.Visits/Count
package main

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"os"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	memorystore "github.com/gensession/gensession/stores/memory"
)

const (
	user   core.Key[string] = "user"
	visits core.Key[int64]  = "visits"
)

// The procedures that a service would have generated.
const (
	countProcedure  = "/example.v1.Visits/Count"
	loginProcedure  = "/example.v1.Visits/Login"
	logoutProcedure = "/example.v1.Visits/Logout"
)

func routes(sessions *core.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(countProcedure, connect.NewUnaryHandler(countProcedure, withSession(count)))
	mux.Handle(loginProcedure, connect.NewUnaryHandler(loginProcedure, withSession(login)))
	mux.Handle(logoutProcedure, connect.NewUnaryHandler(logoutProcedure, withSession(logout)))
	return httpsession.New(sessions, nil)(mux)
}

// withSession returns a procedure that calls f with the session of its request. After
// an error of f the session is saved, but a login that is not saved yet does not
// happen. An error that is no *connect.Error is not sent to the client.
func withSession[Q, A any](f func(context.Context, *core.Session, *Q) (*A, error)) func(context.Context, *connect.Request[Q]) (*connect.Response[A], error) {
	return func(ctx context.Context, q *connect.Request[Q]) (*connect.Response[A], error) {
		visit, err := core.VisitFrom(ctx)
		if err != nil {
			return nil, failed(err) // the middleware is missing
		}
		s, err := visit.Session(ctx)
		if err != nil {
			return nil, failed(err)
		}
		answer, err := f(ctx, s, q.Msg)
		if err != nil {
			visit.HandlerFailed()
			return nil, failed(err)
		}
		return connect.NewResponse(answer), nil
	}
}

// failed hides what an error reveals of the server.
func failed(err error) error {
	if mine := (*connect.Error)(nil); errors.As(err, &mine) {
		return err
	}
	if core.Status(err) == http.StatusServiceUnavailable {
		return connect.NewError(connect.CodeUnavailable, errors.New("try again"))
	}
	return connect.NewError(connect.CodeInternal, errors.New("internal error"))
}

// begin procedure
func count(_ context.Context, s *core.Session, _ *emptypb.Empty) (*wrapperspb.Int64Value, error) {
	n, err := visits.Update(s, func(n int64) int64 { return n + 1 })
	return wrapperspb.Int64(n), err
}

// end procedure

// login answers the name of the user.
func login(_ context.Context, s *core.Session, name *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	// Check the password here.
	if name.Value == "" {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("who?"))
	}
	err := errors.Join(s.Login(core.LoginOptions{}), user.Set(s, name.Value))
	return name, err
}

func logout(ctx context.Context, s *core.Session, _ *emptypb.Empty) (*emptypb.Empty, error) {
	return new(emptypb.Empty), s.Destroy(ctx)
}

func main() {
	key := []byte(os.Getenv("SESSION_KEY")) // openssl rand -base64 32
	sessions, err := core.New(memorystore.New(nil), &core.Options{Keys: [][]byte{key}, Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: "127.0.0.1:3000", Handler: routes(sessions), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true) // for gRPC
	log.Fatal(server.ListenAndServe())
}

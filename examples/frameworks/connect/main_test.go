package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	httpsession "github.com/gensession/gensession/adapters/nethttp"
	"github.com/gensession/gensession/core"
	"github.com/gensession/gensession/core/storetest"
	"github.com/gensession/gensession/examples/frameworks/internal/try"
)

const failsProcedure = "/example.v1.Visits/Fails"

func TestConnect(t *testing.T) {
	for name, options := range map[string][]connect.ClientOption{
		"Connect": nil, "Connect with JSON": {connect.WithProtoJSON()}, "gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
	} {
		t.Run(name, func(t *testing.T) {
			sessions, store := try.Sessions(t)
			mux := http.NewServeMux()
			mux.Handle("/", routes(sessions))
			mux.Handle(failsProcedure, httpsession.New(sessions, nil)(connect.NewUnaryHandler(failsProcedure, withSession(
				func(_ context.Context, s *core.Session, _ *emptypb.Empty) (*emptypb.Empty, error) {
					return nil, errors.Join(s.Login(core.LoginOptions{}), user.Set(s, "eve"), errors.New("secret"))
				}))))
			server := httptest.NewUnstartedServer(mux)
			server.EnableHTTP2 = true
			server.StartTLS()
			defer server.Close()
			client := server.Client()
			client.Jar, _ = cookiejar.New(nil)
			count := connect.NewClient[emptypb.Empty, wrapperspb.Int64Value](client, server.URL+countProcedure, options...)
			login := connect.NewClient[wrapperspb.StringValue, wrapperspb.StringValue](client, server.URL+loginProcedure, options...)
			logout := connect.NewClient[emptypb.Empty, emptypb.Empty](client, server.URL+logoutProcedure, options...)
			fails := connect.NewClient[emptypb.Empty, emptypb.Empty](client, server.URL+failsProcedure, options...)
			ctx := t.Context()
			visits := func(n int64) {
				t.Helper()
				got, err := count.CallUnary(ctx, connect.NewRequest(new(emptypb.Empty)))
				if err != nil {
					t.Fatal(err)
				}
				if got.Msg.Value != n {
					t.Errorf("visit %d, want %d", got.Msg.Value, n)
				}
			}
			visits(1)
			visits(2)
			if _, err := fails.CallUnary(ctx, connect.NewRequest(new(emptypb.Empty))); connect.CodeOf(err) != connect.CodeInternal || err.Error() != "internal: internal error" {
				t.Errorf("got %v", err)
			}
			visits(3)
			if _, err := login.CallUnary(ctx, connect.NewRequest(wrapperspb.String(""))); connect.CodeOf(err) != connect.CodeUnauthenticated {
				t.Errorf("got %v", err)
			}
			if _, err := login.CallUnary(ctx, connect.NewRequest(wrapperspb.String("ada"))); err != nil {
				t.Error(err)
			}
			visits(4)
			store.Before(func(_ context.Context, op storetest.Op, _ string) error {
				if op == storetest.OpGetVersion {
					return nil
				}
				return core.ErrRefused
			})
			if _, err := count.CallUnary(ctx, connect.NewRequest(new(emptypb.Empty))); connect.CodeOf(err) != connect.CodeUnavailable {
				t.Errorf("got %v", err)
			}
			store.Before(nil)
			if _, err := logout.CallUnary(ctx, connect.NewRequest(new(emptypb.Empty))); err != nil {
				t.Error(err)
			}
			visits(1)
		})
	}
}

package redisstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"github.com/gensession/gensession/stores/internal/caught"
	"github.com/gensession/gensession/stores/internal/health"
)

// probe checks for the prober whether a session can be stored. Its error is the
// cause of an outage, without its class.
func (s *Store) probe(ctx context.Context) error {
	if s.client.Load() == nil {
		if err := s.dialer.dial(ctx, &s.client); err != nil {
			return s.causeOf(ctx, err)
		}
	}
	client := *s.client.Load()
	result := make(chan error, 1)
	var err error
	caught.Go(func() { // since the client may not return when ctx ends
		if client.Mode() == rueidis.ClientModeCluster {
			err = askCluster(ctx, client)
		} else {
			err = s.ask(ctx, client)
		}
	}, func(end caught.End) { result <- cmp.Or(end.Err(), err) })
	select {
	case err := <-result:
		return s.causeOf(ctx, err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// causeOf returns err as the cause of an outage.
func (s *Store) causeOf(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil && !undialed(err):
		return ctx.Err() // there was no reply
	case err == errReplica:
		return health.Unusable{Err: fmt.Errorf("redisstore: %w", err)}
	}
	return describe(err, nil, request{})
}

// ask asks one server whether it is a master that takes commands. It tries again
// on a broken connection.
//
// If the server is a replica, ask lets the client leave its connections. This may be the old
// master after a failover, and the name or the address that the client dials may
// lead to the new one. Behind Sentinel the client itself finds the new master.
func (s *Store) ask(ctx context.Context, client rueidis.Client) (err error) {
	var role string
	for range attempts {
		if role, err = roleOf(ctx, client); err == nil || !broken(err) || ctx.Err() != nil {
			break
		}
	}
	if err == nil && s.dispersed.Load() {
		role = s.sample(ctx, client)
		s.dispersed.Store(role == "replica")
	}
	// A server that does not tell its role has told it by refusing a write.
	if s.readonly.Swap(false) && role == "" || role == "replica" || role == "slave" {
		err = errReplica
		if client.Mode() == rueidis.ClientModeStandalone {
			s.leave(ctx, client)
		}
	}
	if server, ok := rueidis.IsRedisErr(err); ok {
		if kind, _ := classifyReply(server.Error()); kind == answered {
			return nil
		}
	}
	return err
}

// roleOf returns the role of the server, if it tells it, and the error of PING.
// HELLO, unlike ROLE, is allowed by every ACL, but servers before Redis 6.2 don't
// know it. Both work while the server loads its data; PING does not.
func roleOf(ctx context.Context, client rueidis.Client) (role string, err error) {
	replies := client.DoMulti(ctx, client.B().Arbitrary("HELLO").Build(), client.B().Arbitrary("PING").Build())
	if err = replies[0].NonRedisError(); err == nil {
		err = replies[1].Error()
	}
	if hello, mapErr := replies[0].AsMap(); mapErr == nil {
		role = text(hello, "role")
	}
	if err == nil && role == "" {
		if all, roleErr := client.Do(ctx, client.B().Arbitrary("ROLE").Build()).ToArray(); roleErr == nil && len(all) > 0 {
			role, _ = all[0].ToString()
		}
	}
	return role, err
}

// text returns a field of a reply, "" if it is missing.
func text(reply map[string]rueidis.RedisMessage, field string) string {
	m := reply[field]
	s, _ := m.ToString()
	return s
}

// leave makes the client open new connections. Those of a client of the user can be
// closed by the server only, on QUIT, and the client chooses one at random for each
// command with a key. So it takes several commands to reach them all, and later
// probes look at several connections.
func (s *Store) leave(ctx context.Context, client rueidis.Client) {
	if s.dialer != nil {
		s.conns.leave()
		return
	}
	s.dispersed.Store(true)
	client.Do(ctx, client.B().Arbitrary("QUIT").Build())
	for range several {
		client.Do(ctx, client.B().Arbitrary("QUIT").Keys("any").Build())
	}
}

// several is enough for the four connections that a client has by default.
const several = 16

// sample returns the role of the servers to which the connections lead, "replica" if
// one of them does.
func (s *Store) sample(ctx context.Context, client rueidis.Client) string {
	hello, err := client.Do(ctx, client.B().Arbitrary("HELLO").Build()).AsMap()
	for range several {
		if err != nil {
			return ""
		}
		if role := text(hello, "role"); role == "replica" || role == "slave" {
			return "replica"
		}
		version := hello["proto"] // the same again: it must not change
		n, _ := version.ToInt64()
		hello, err = client.Do(ctx, client.B().Arbitrary("HELLO").Keys(strconv.FormatInt(n, 10)).Build()).AsMap()
	}
	return "master"
}

// askCluster asks the nodes one by one until one reports that the cluster is ok.
func askCluster(ctx context.Context, client rueidis.Client) error {
	err := error(rueidis.ErrNoSlot)
	for _, node := range client.Nodes() {
		var info string
		if info, err = node.Do(ctx, node.B().ClusterInfo().Build()).ToString(); err == nil {
			if strings.Contains(info, "cluster_state:ok") {
				return nil
			}
			err = errState
			continue
		}
		if server, ok := rueidis.IsRedisErr(err); ok {
			if kind, _ := classifyReply(server.Error()); kind == answered {
				return nil // the ACL may forbid CLUSTER INFO
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

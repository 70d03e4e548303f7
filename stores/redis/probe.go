package redisstore

import (
	"context"
	"strings"

	"github.com/redis/rueidis"
)

// probe asks the server whether it is there, for the prober. A server that
// refuses to tell is.
func (s *Store) probe(ctx context.Context) error {
	if s.client.Load() == nil {
		if err := s.dialer.dial(ctx, &s.client); err != nil {
			return err
		}
	}
	client := *s.client.Load()
	result := make(chan error, 1)
	go func() { // since the client may not end with ctx
		if client.Mode() == rueidis.ClientModeCluster {
			result <- askCluster(ctx, client)
		} else {
			result <- ask(ctx, client)
		}
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask asks one server, over a connection that is alive.
func ask(ctx context.Context, client rueidis.Client) (err error) {
	for range attempts {
		if err = client.Do(ctx, client.B().Arbitrary("PING").Build()).Error(); err == nil || !broken(err) || ctx.Err() != nil {
			break
		}
	}
	if server, ok := rueidis.IsRedisErr(err); ok {
		if kind, _ := classifyReply(server.Error()); kind == answered {
			return nil
		}
	}
	return err
}

// askCluster asks the servers of a cluster one by one until one says that all
// is well: a cluster is up as long as it says so.
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
				return nil // it may not tell
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	return err
}

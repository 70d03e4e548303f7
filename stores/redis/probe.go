package redisstore

import (
	"context"
	"strings"

	"github.com/redis/rueidis"
)

// probe checks for the prober whether the server replies. A server that rejects
// the command counts as up.
func (s *Store) probe(ctx context.Context) error {
	if s.client.Load() == nil {
		if err := s.dialer.dial(ctx, &s.client); err != nil {
			return err
		}
	}
	client := *s.client.Load()
	result := make(chan error, 1)
	go func() { // since the client may not return when ctx ends
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

// ask pings one server. It tries again on a broken connection.
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

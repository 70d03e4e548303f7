package servers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// RedisTLS starts a Redis server that speaks TLS only, with a certificate
// made for the test. Clients take their configuration from
// [RedisServer.TLS], which has a certificate for "--tls-auth-clients", "yes"
// too.
func RedisTLS(tb testing.TB, args ...string) *RedisServer {
	tb.Helper()
	s := newRedis(lookup(tb, "redis-server", "redis-server"), args)
	certificate, key, err := selfSigned()
	if err != nil {
		tb.Fatal(err)
	}
	if s.client, err = clientConfig(certificate, key); err != nil {
		tb.Fatal(err)
	}
	s.files = func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "cert.pem"), certificate, 0o600); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600)
	}
	plain := s.args
	s.args = func(port int) []string {
		all := plain(port)
		for i, a := range all {
			if a == "--port" {
				all[i] = "--tls-port"
				break
			}
		}
		return append([]string{
			"--port", "0", "--tls-auth-clients", "no",
			"--tls-cert-file", filepath.Join(s.dir, "cert.pem"),
			"--tls-key-file", filepath.Join(s.dir, "key.pem"),
			"--tls-ca-cert-file", filepath.Join(s.dir, "cert.pem"),
		}, all...)
	}
	s.handle = own(tb, s.daemon)
	return s
}

// selfSigned returns a certificate for 127.0.0.1 and its key, both as PEM.
func selfSigned() (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "gensession test"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	return certificate, key, nil
}

func clientConfig(certificate, key []byte) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return &tls.Config{
		RootCAs:      roots,
		Certificates: []tls.Certificate{pair},
		ServerName:   "127.0.0.1",
		MinVersion:   tls.VersionTLS12,
	}, nil
}

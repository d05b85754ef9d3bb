// Two small jobs of a cluster's start, without openssl and curl:
//
//	boot keys DIR NAMED_BY ADDRESS...   throw-away certificates, tokens and kubeconfigs; the API server is NAMED_BY:6443
//	boot await DIR PATH [TEXT]          returns when the API server answers PATH with 200, and TEXT is in the answer
package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	if len(os.Args) < 4 {
		fail("usage: boot keys DIR NAMED_BY ADDRESS... | boot await DIR PATH [TEXT]")
	}
	switch os.Args[1] {
	case "keys":
		keys(os.Args[2], os.Args[3], os.Args[3:])
	case "await":
		await(os.Args[2], os.Args[3], strings.Join(os.Args[4:], " "))
	default:
		fail("boot: no job " + os.Args[1])
	}
}

func fail(message any) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(1)
}

func must[T any](value T, err error) T {
	if err != nil {
		fail(err)
	}
	return value
}

func write(path string, content []byte) {
	must(0, os.MkdirAll(filepath.Dir(path), 0o755))
	must(0, os.WriteFile(path, content, 0o600))
}

type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	pki         string
}

func newKey(path string) *ecdsa.PrivateKey {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.MarshalECPrivateKey(key))
	write(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	return key
}

func template(subject pkix.Name) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: must(rand.Int(rand.Reader, big.NewInt(1<<62))),
		Subject:      subject,
		NotBefore:    time.Now().Add(-24 * time.Hour), // a test may turn a clock back
		NotAfter:     time.Now().Add(10 * 365 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func (ca *authority) issue(name string, subject pkix.Name, usage x509.ExtKeyUsage, names []string, addresses []string) {
	key := newKey(filepath.Join(ca.pki, name+".key"))
	t := template(subject)
	t.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	t.DNSNames = names
	for _, address := range addresses {
		t.IPAddresses = append(t.IPAddresses, net.ParseIP(address))
	}
	der := must(x509.CreateCertificate(rand.Reader, t, ca.certificate, &key.PublicKey, ca.key))
	write(filepath.Join(ca.pki, name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func keys(dir, namedBy string, addresses []string) {
	ca := authority{pki: filepath.Join(dir, "pki")}
	ca.key = newKey(filepath.Join(ca.pki, "ca.key"))
	t := template(pkix.Name{CommonName: "driftless-test-ca"})
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der := must(x509.CreateCertificate(rand.Reader, t, t, &ca.key.PublicKey, ca.key))
	ca.certificate = must(x509.ParseCertificate(der))
	caPem := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	write(filepath.Join(ca.pki, "ca.crt"), caPem)

	// 127.0.0.1 is for a proxy on the test's side that serves with this certificate.
	ca.issue("apiserver", pkix.Name{CommonName: "kube-apiserver"}, x509.ExtKeyUsageServerAuth,
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		append([]string{"127.0.0.1", "10.79.0.1"}, addresses...))
	ca.issue("kubelet", pkix.Name{CommonName: "system:node:node-1", Organization: []string{"system:nodes"}}, x509.ExtKeyUsageServerAuth,
		[]string{"node-1"}, addresses)
	ca.issue("kubelet-client", pkix.Name{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}}, x509.ExtKeyUsageClientAuth, nil, nil)
	newKey(filepath.Join(ca.pki, "sa.key"))

	var tokens bytes.Buffer
	for _, user := range []struct{ file, name, groups string }{
		{"kubeconfig", "admin", "system:masters"},
		{"kubeconfig-weak", "weak", "driftless:weak"},
		{"conf/controllers", "system:kube-controller-manager", ""},
		{"conf/scheduler", "system:kube-scheduler", ""},
		{"conf/kubelet", "system:node:node-1", "system:nodes"},
		{"conf/proxy", "system:kube-proxy", ""},
	} {
		random := make([]byte, 16)
		must(rand.Read(random))
		token := hex.EncodeToString(random)
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", token, user.name, user.name, user.groups)
		write(filepath.Join(dir, user.file), fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://%s:6443", certificate-authority-data: %s}}]
users: [{name: test, user: {token: "%s"}}]
contexts: [{name: test, context: {cluster: test, user: test, namespace: default}}]
current-context: test
`, namedBy, base64.StdEncoding.EncodeToString(caPem), token))
		if user.name == "admin" {
			write(filepath.Join(ca.pki, "admin-token"), []byte(token))
			write(filepath.Join(dir, "server"), []byte(namedBy+":6443"))
		}
	}
	write(filepath.Join(ca.pki, "tokens.csv"), tokens.Bytes())
}

// The caller ends it when the API server dies, so it needs no deadline of its own.
func await(dir, path, text string) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(filepath.Join(dir, "pki/ca.crt"))))
	client := http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		Timeout:   5 * time.Second,
	}
	server := string(must(os.ReadFile(filepath.Join(dir, "server"))))
	request := must(http.NewRequest("GET", "https://"+server+path, nil))
	request.Header.Set("Authorization", "Bearer "+string(must(os.ReadFile(filepath.Join(dir, "pki/admin-token")))))
	for {
		if answer, err := client.Do(request); err == nil {
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err == nil && answer.StatusCode == 200 && strings.Contains(string(body), text) {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

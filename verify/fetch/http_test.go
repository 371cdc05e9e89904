package fetch

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// tlsServer serves a world over HTTPS, under the name registry.example.com
// for whoever dials with the returned options.
func tlsServer(t *testing.T, w *world) (*server, Options) {
	t.Helper()
	s := &server{world: w, referrers: true}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.answer))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	o := options(t)
	o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Listener.Addr().String())
	}
	o.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(o.CAFile, cert, 0o600); err != nil {
		t.Fatal(err)
	}
	return s, o
}

func TestTLS(t *testing.T) {
	w := newWorld()
	s, o := tlsServer(t, w)
	ref := parse(t, "registry.example.com/r:1.4")
	res, err := Resolve(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, res, w)

	bad := o
	bad.Store, bad.CAFile = options(t).Store, ""
	_, err = Resolve(t.Context(), ref, bad)
	wantCode(t, err, reason.RegistryTLS)
	if e, _ := reason.Of(err); e == nil || e.Next != "--registry-ca FILE" {
		t.Errorf("next: %v", e)
	}
	// The same on loopback, where a second try without TLS follows.
	_, err = Resolve(t.Context(), parse(t, s.Listener.Addr().String()+"/r:1.4"), bad)
	wantCode(t, err, reason.RegistryTLS)
	// The certificate is of another name.
	bad.CAFile = o.CAFile
	_, err = Resolve(t.Context(), parse(t, "registry.example/r:1.4"), bad)
	wantCode(t, err, reason.RegistryTLS)

	bad.CAFile = filepath.Join(t.TempDir(), "none")
	_, err = Resolve(t.Context(), ref, bad)
	wantCode(t, err, reason.CAFileInvalid)
	bad.CAFile = bad.CAFile + ".txt"
	if err := os.WriteFile(bad.CAFile, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Resolve(t.Context(), ref, bad)
	wantCode(t, err, reason.CAFileInvalid)
}

// elsewhere is a connection that claims to lead away from this machine.
type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

// TestPlainHTTP: not one request in plain HTTP leaves for a registry that is
// not on loopback, whatever its name looks like.
func TestPlainHTTP(t *testing.T) {
	s := serve(t, newWorld())
	o := options(t)
	o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.Listener.Addr().String())
	}
	for _, host := range []string{"registry.example", "registry.example:80", "10.1.2.3:5000", "192.168.0.1", "127.0.0.1.example:80", "localhost.example"} {
		_, err := Resolve(t.Context(), parse(t, host+"/r:1.4"), o)
		wantCode(t, err, reason.RegistryPlainHTTP)
	}
	for _, host := range []string{"localhost:80", "127.0.0.1:80", "[::1]:80"} {
		away := o
		away.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := o.Dial(ctx, network, addr)
			return elsewhere{c}, err
		}
		_, err := Resolve(t.Context(), parse(t, host+"/r:1.4"), away)
		wantCode(t, err, reason.RegistryUnreachable)
	}
	if n := s.requests.Load(); n != 0 {
		t.Errorf("%d requests in plain HTTP", n)
	}
	if _, err := Resolve(t.Context(), parse(t, "localhost:80/r:1.4"), o); err != nil {
		t.Errorf("localhost: %v", err)
	}
}

// TestPlainHTTPInside: a registry elsewhere sends us to this machine.
func TestPlainHTTPInside(t *testing.T) {
	w := newWorld()
	inside := serve(t, w)
	s, o := tlsServer(t, w)
	s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(path, "blobs/") {
			http.Redirect(rw, r, inside.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	_, err := Resolve(t.Context(), parse(t, "registry.example.com/r:1.4"), o)
	wantCode(t, err, reason.RegistryPlainHTTP)
	if n := inside.requests.Load(); n != 0 {
		t.Errorf("%d requests to this machine", n)
	}
}

// TestAsSent: nobody is asked for compressed bytes, which would be taken apart
// before they are hashed.
func TestAsSent(t *testing.T) {
	s := serve(t, newWorld())
	s.over = func(_ string, _ http.ResponseWriter, r *http.Request) bool {
		if got := r.Header.Get("Accept-Encoding"); got != "" {
			t.Errorf("%s with Accept-Encoding %s", r.URL.Path, got)
		}
		return false
	}
	if _, err := Resolve(t.Context(), s.ref(t), options(t)); err != nil {
		t.Error(err)
	}
}

// TestPlainHTTPToken: an HTTPS registry sends us for a token in plain HTTP.
func TestPlainHTTPToken(t *testing.T) {
	var asked atomic.Int64
	token := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(token.Close)
	s, o := tlsServer(t, newWorld())
	s.over = func(_ string, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+token.URL+`/token",service="s"`)
		w.WriteHeader(401)
		return true
	}
	if _, err := Resolve(t.Context(), parse(t, "registry.example.com/r:1.4"), o); err == nil {
		t.Error("resolved")
	}
	if asked.Load() != 0 {
		t.Error("a token was asked for in plain HTTP")
	}
}

func TestProxy(t *testing.T) {
	w := newWorld()
	s, o := tlsServer(t, w)
	var connects atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "registry.example.com:443" {
			t.Errorf("the proxy is asked to %s %s", r.Method, r.Host)
			return
		}
		connects.Add(1)
		up, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		down, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(down, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { io.Copy(up, down); up.Close() }()
		go func() { io.Copy(down, up); down.Close() }()
	}))
	t.Cleanup(proxy.Close)
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	o.Proxy = func(*http.Request) (*url.URL, error) { return at, nil }
	o.Dial = nil
	res, err := Resolve(t.Context(), parse(t, "registry.example.com/r:1.4"), o)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, res, w)
	if connects.Load() == 0 {
		t.Error("the proxy was not used")
	}
	// Plain HTTP to loopback does not go through it.
	o.Store = options(t).Store
	if _, err := Resolve(t.Context(), serve(t, w).ref(t), o); err != nil {
		t.Error(err)
	}
}

func TestMirror(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	o := options(t)
	o.Mirrors = map[string]string{"docker.io": "unused.example", "docker.io/library": s.host() + "/hub", "registry.example": s.host()}
	at, err := o.mirror(parse(t, "alpine:3"))
	if err != nil || at != s.host()+"/hub/alpine" {
		t.Errorf("%v, %v", at, err)
	}
	for ref, want := range map[string]string{"docker.io/acme/x": "unused.example/acme/x", "registry.example/r": s.host() + "/r", "other.example/a": "other.example/a",
		"registry.example.org/r": "registry.example.org/r"} {
		if at, err := o.mirror(parse(t, ref)); err != nil || at != want {
			t.Errorf("%s: %v, %v", ref, at, err)
		}
	}
	res, err := Resolve(t.Context(), parse(t, "registry.example/r:1.4"), o)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, res, w)
	if res.Artifact.Ref().Name() != "registry.example/r" {
		t.Errorf("policy would see %s", res.Artifact.Ref().Name())
	}
	for _, bad := range []string{"", "http://mirror.example", "mirror.example:99999", "UPPER.example", "mirror", "mirror.example/a:tag", "mirror.example/a@" + aDigest} {
		o.Mirrors = map[string]string{"registry.example": bad}
		_, err := Resolve(t.Context(), parse(t, "registry.example/x:1"), o)
		wantCode(t, err, reason.MirrorInvalid)
	}
}

// guarded lets only user u with password p in: by basic authentication, or
// for a token, and counts who else tries.
func guarded(t *testing.T, w *world, bearer bool) *server {
	t.Helper()
	s := serve(t, w)
	s.over = func(_ string, rw http.ResponseWriter, r *http.Request) bool {
		user, pass, _ := r.BasicAuth()
		good := user == "u" && pass == "p"
		if r.URL.Path == "/token" {
			if !good {
				rw.WriteHeader(401)
				return true
			}
			json.NewEncoder(rw).Encode(map[string]string{"token": "good"})
			return true
		}
		if bearer && r.Header.Get("Authorization") == "Bearer good" || !bearer && good {
			return false
		}
		challenge := `Basic realm="r"`
		if bearer {
			challenge = `Bearer realm="` + s.URL + `/token",service="s"`
		}
		rw.Header().Set("WWW-Authenticate", challenge)
		rw.WriteHeader(401)
		return true
	}
	return s
}

func TestCredentials(t *testing.T) {
	w := newWorld()
	dir := t.TempDir()
	n := 0
	file := func(name, text string) string {
		if len(name) == 1 {
			n++
			name += fmt.Sprint(n)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	up := base64.StdEncoding.EncodeToString([]byte("u:p"))
	file("docker-credential-good", "#!/bin/sh\nread host\nprintf '{\"ServerURL\":\"%s\",\"Username\":\"u\",\"Secret\":\"p\"}' \"$host\"\n")
	file("docker-credential-broken", "#!/bin/sh\nexit 3\n")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, bearer := range []bool{false, true} {
		s := guarded(t, w, bearer)
		h := s.host()
		auths := func(key, auth string) string { return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, auth) }
		for _, c := range []struct {
			name  string
			files []string
			code  reason.Code
		}{
			{"none", nil, reason.RegistryUnauthorized},
			{"docker", []string{file("a", auths(h, up))}, ""},
			{"url", []string{file("a", auths("http://"+h+"/v1/", up))}, ""},
			{"podman-path", []string{file("a", auths(h+"/r", up))}, ""},
			{"other-path", []string{file("a", auths(h+"/other", up))}, reason.RegistryUnauthorized},
			{"second-file", []string{filepath.Join(dir, "none"), file("a", auths("other.example", up)), file("b", auths(h, up))}, ""},
			{"wrong", []string{file("a", auths(h, base64.StdEncoding.EncodeToString([]byte("u:x"))))}, reason.RegistryUnauthorized},
			{"helper", []string{file("a", fmt.Sprintf(`{"credHelpers":{%q:"good"}}`, h))}, ""},
			{"store", []string{file("a", `{"credsStore":"good"}`)}, ""},
			{"broken-helper", []string{file("a", fmt.Sprintf(`{"credHelpers":{%q:"broken"}}`, h))}, reason.CredentialsUnreadable},
			{"malformed", []string{file("a", `{"auths":`)}, reason.CredentialsUnreadable},
			{"folder", []string{dir}, reason.CredentialsUnreadable},
		} {
			o := options(t)
			o.AuthFiles = c.files
			res, err := Resolve(t.Context(), s.ref(t), o)
			if c.code != "" {
				if e, ok := reason.Of(err); !ok || e.Code != c.code {
					t.Errorf("%s, bearer %v: %v, want %s", c.name, bearer, err, c.code)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s, bearer %v: %v", c.name, bearer, err)
				continue
			}
			whole(t, res, w)
		}
	}
}

// TestCredentialsStay: a redirect to another host does not take them along.
func TestCredentialsStay(t *testing.T) {
	w := newWorld()
	leaked := ""
	other := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		leaked += r.Header.Get("Authorization")
		rw.Write(w.blobs[w.layers[0]])
	}))
	t.Cleanup(other.Close)
	s := guarded(t, w, false)
	inner := s.over
	s.over = func(path string, rw http.ResponseWriter, r *http.Request) bool {
		if inner(path, rw, r) {
			return true
		}
		if path == "blobs/"+string(w.layers[0]) {
			http.Redirect(rw, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	o := options(t)
	o.AuthFiles = []string{filepath.Join(t.TempDir(), "auth")}
	if err := os.WriteFile(o.AuthFiles[0], []byte(`{"auths":{"`+s.host()+`":{"auth":"`+base64.StdEncoding.EncodeToString([]byte("u:p"))+`"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	res, err := Resolve(t.Context(), s.ref(t), o)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, res, w)
	if leaked != "" {
		t.Errorf("another host is told %q", leaked)
	}
}

func TestAuthFiles(t *testing.T) {
	env := map[string]string{}
	got := func() []string { return AuthFiles(func(k string) string { return env[k] }, "/home/u") }
	if want := []string{"/home/u/.docker/config.json", "/home/u/.config/containers/auth.json"}; !slices.Equal(got(), want) {
		t.Errorf("%v, want %v", got(), want)
	}
	env = map[string]string{"REGISTRY_AUTH_FILE": "/r", "DOCKER_CONFIG": "/d", "XDG_RUNTIME_DIR": "/run/u", "XDG_CONFIG_HOME": "/c"}
	if want := []string{"/r", "/d/config.json", "/run/u/containers/auth.json", "/c/containers/auth.json"}; !slices.Equal(got(), want) {
		t.Errorf("%v, want %v", got(), want)
	}
}

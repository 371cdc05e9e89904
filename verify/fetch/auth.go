package fetch

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// AuthFiles is where docker and podman keep credentials, for Options, in the
// order in which they count: REGISTRY_AUTH_FILE, docker's config.json in
// DOCKER_CONFIG or home, podman's auth.json in XDG_RUNTIME_DIR, and in
// XDG_CONFIG_HOME or home. env looks up an environment variable.
func AuthFiles(env func(string) string, home string) []string {
	var files []string
	add := func(dir string, rest ...string) {
		if dir != "" {
			files = append(files, filepath.Join(append([]string{dir}, rest...)...))
		}
	}
	add(env("REGISTRY_AUTH_FILE"))
	if dir := env("DOCKER_CONFIG"); dir != "" {
		add(dir, "config.json")
	} else {
		add(home, ".docker", "config.json")
	}
	add(env("XDG_RUNTIME_DIR"), "containers", "auth.json")
	if dir := env("XDG_CONFIG_HOME"); dir != "" {
		add(dir, "containers", "auth.json")
	} else {
		add(home, ".config", "containers", "auth.json")
	}
	return files
}

// authFiles is a keychain over credential files. A file that is there and
// cannot be read is an error, not anonymity: a registry may answer "absent"
// to whoever is not logged in.
type authFiles []string

var _ authn.ContextKeychain = authFiles(nil)

func (a authFiles) Resolve(r authn.Resource) (authn.Authenticator, error) {
	return a.ResolveContext(context.Background(), r)
}

// ResolveContext finds the credentials for a repository. A credential helper
// runs until it ends; when ctx ends first it is left to end by itself.
func (a authFiles) ResolveContext(ctx context.Context, r authn.Resource) (authn.Authenticator, error) {
	for _, path := range a {
		raw, err := readFile(path, 4<<20)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		unreadable := func(err error) error {
			return &reason.Error{Code: reason.CredentialsUnreadable, What: "read credentials for " + r.RegistryStr() + " from " + path, Err: err}
		}
		if err != nil {
			return nil, unreadable(err)
		}
		file, err := config.LoadFromReader(bytes.NewReader(raw))
		if err != nil {
			return nil, unreadable(err)
		}
		type answer struct {
			auth types.AuthConfig
			err  error
		}
		done := make(chan answer, 1)
		go func() {
			auth, err := credentials(file, r)
			done <- answer{auth, err}
		}()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case got := <-done:
			if got.err != nil {
				return nil, unreadable(got.err)
			}
			if got.auth != (types.AuthConfig{}) {
				return authn.FromConfig(authn.AuthConfig{Username: got.auth.Username, Password: got.auth.Password, Auth: got.auth.Auth,
					IdentityToken: got.auth.IdentityToken, RegistryToken: got.auth.RegistryToken}), nil
			}
		}
	}
	return authn.Anonymous, nil
}

// credentials looks in one file: podman's keys for a repository or a path
// above it first, then the keys for the registry, which helpers know too.
func credentials(file *configfile.ConfigFile, r authn.Resource) (types.AuthConfig, error) {
	hosts := []string{r.RegistryStr()}
	if r.RegistryStr() == name.DefaultRegistry {
		hosts = []string{authn.DefaultAuthKey, "docker.io"}
	}
	if _, path, ok := strings.Cut(r.String(), "/"); ok {
		for ; path != "" && path != "."; path = dirname(path) {
			for _, h := range hosts {
				if auth, ok := file.AuthConfigs[h+"/"+path]; ok {
					auth.ServerAddress = ""
					return auth, nil
				}
			}
		}
	}
	for _, h := range hosts {
		if file.CredentialsStore != "" || file.CredentialHelpers[h] != "" {
			auth, err := file.GetAuthConfig(h)
			auth.ServerAddress = ""
			if err != nil || auth != (types.AuthConfig{}) {
				return auth, err
			}
		}
		for _, key := range slices.Sorted(maps.Keys(file.AuthConfigs)) {
			if key == h || hostKey(key) == h {
				auth := file.AuthConfigs[key]
				auth.ServerAddress = ""
				return auth, nil
			}
		}
	}
	return types.AuthConfig{}, nil
}

// hostKey is the registry that docker's older keys, URLs with the version of
// the API, name. A key with any other path is for that path alone.
func hostKey(key string) string {
	_, host, ok := strings.Cut(key, "://")
	if !ok {
		return key
	}
	for _, suffix := range []string{"/", "/v1", "/v2"} {
		host = strings.TrimSuffix(host, suffix)
	}
	return host
}

func dirname(path string) string {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return ""
	}
	return path[:i]
}

package fetch

import (
	"net/http"
	"net/url"
)

// Proxy is the Proxy option that follows HTTPS_PROXY and NO_PROXY, read once
// from the environment.
func Proxy(r *http.Request) (*url.URL, error) { return http.ProxyFromEnvironment(r) }

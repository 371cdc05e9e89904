//go:build !amd64

package main

var native = map[string]func() error{}

package artifact

import (
	"strings"

	"github.com/ztlaunch/ztlaunch/verify/reason"
)

// Platform is the operating system and processor that an image is for, in
// Go's words (GOOS, GOARCH, variant), normalised: arm64/v8 is arm64,
// amd64/v1 is amd64, arm is arm/v7. Platforms compare with ==.
type Platform struct{ OS, Architecture, Variant string }

// ParsePlatform reads OS/ARCH[/VARIANT], docker's --platform. An error has
// the code platform-invalid.
func ParsePlatform(s string) (Platform, error) {
	bad := &reason.Error{Code: reason.PlatformInvalid, What: "parse platform " + quote(s), Expected: "OS/ARCH[/VARIANT]", Next: "linux/amd64"}
	parts := strings.Split(s, "/")
	if len(s) > 64 || len(parts) < 2 || len(parts) > 3 {
		return Platform{}, bad
	}
	for _, p := range parts {
		if !validTag(p) {
			return Platform{}, bad
		}
	}
	p := Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p.Normal(), nil
}

// Normal is the platform in the one spelling that this package compares.
func (p Platform) Normal() Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	}
	switch {
	case p.Architecture == "arm64" && (p.Variant == "v8" || p.Variant == "8"),
		p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// String is OS/ARCH[/VARIANT].
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Zero reports whether the platform is unset.
func (p Platform) Zero() bool { return p == Platform{} }

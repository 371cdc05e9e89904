# Everything that is built, tested and shipped. `make` alone lists the targets.
#
# The first target that needs a compiler sets up what the machine lacks (see
# .ci/setup.sh); all other state lives in .cache, bin and dist.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

PREFIX ?= /usr/local
DESTDIR ?=
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1767225600)
FUZZTIME ?= 5s
TESTFLAGS ?=
VECTORS ?= ../shared/vectors
TESTCGO := 0

RUNC := v1.5.2
COSIGN := v3.1.3
COSIGN2 := v2.6.5
ORAS := v1.3.6
MODULE := github.com/ztlaunch/ztlaunch

# A toolchain that setup fetched goes before the system's. GOTOOLCHAIN=local: which
# go runs is setup's decision, and made once.
export PATH := $(CURDIR)/.cache/go/bin:$(PATH)
export GOTOOLCHAIN := local
export SOURCE_DATE_EPOCH
# Programs, tests and lint are compiled with the same flags, so that each package is
# compiled once. Only the race detector and the runc helper need cgo, and only what is
# shipped (`make dist`) must not say where it was built.
export GOFLAGS := $(filter-out -trimpath -buildvcs=%,$(GOFLAGS)) -buildvcs=false $(TRIM)
export CGO_ENABLED := 0
# Where tests, the demo and the bench find what was built for them.
export ZTLAUNCH_BIN := $(CURDIR)/bin
export ZTLAUNCH_RUNC := $(CURDIR)/bin/ztlaunch-runc
export ZTLAUNCH_IMAGES := $(CURDIR)/.cache/images
export ZTLAUNCH_DEBIAN := $(CURDIR)/.cache/debian/layout

STRIP := -s -w -buildid=
PINS = pin() { sha256sum "bin/ztlaunch-$$1" | cut -d ' ' -f 1; }; runc=$$(pin runc); keeper=$$(pin keeper);
LAUNCHER = $(STRIP) -X main.version=$(VERSION) -X $(MODULE)/launch/runc.pin=$$runc -X $(MODULE)/launch/keeper.pin=$$keeper
# Folders that ./... leaves out: programs for tests, and the build's own tools.
EXTRA = $(shell find testdata .ci -name '*.go' -printf './%h\n' | sort -u)
PACKAGES = ./... $(EXTRA)
SUM := .cache/tools/testsum
LINT := .cache/tools/golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Build

.PHONY: build
build: bin/ztlaunch bin/ztlaunch-sbom ## build the four programs into bin/

.PHONY: FORCE
FORCE:

.PHONY: setup
setup:
	@.ci/setup.sh build

.PHONY: setup-test
setup-test:
	@.ci/setup.sh test

# The sha256 of the programs that it executes goes into the launcher, so they come
# first.
bin/ztlaunch: bin/ztlaunch-runc bin/ztlaunch-keeper FORCE
	@$(PINS) go build -ldflags "$(LAUNCHER)" -o $@ ./cmd/ztlaunch; \
	for pin in $$runc $$keeper; do grep -qF "$$pin" $@ || { echo "$@: pin $$pin is not in it" >&2; exit 1; }; done

bin/ztlaunch-keeper: setup FORCE
	@go build -ldflags "$(STRIP)" -o $@ ./cmd/ztlaunch-keeper

bin/ztlaunch-sbom: setup FORCE
	@go build -ldflags "$(STRIP) -X main.version=$(VERSION)" -o $@ ./cmd/ztlaunch-sbom

bin/ztlaunch-runc: setup FORCE
	@.ci/runc.sh $(RUNC) $@

.PHONY: install
install: build ## install under DESTDIR and PREFIX (/usr/local)
	install -D -m 755 bin/ztlaunch '$(DESTDIR)$(PREFIX)/bin/ztlaunch'
	install -D -m 755 bin/ztlaunch-runc '$(DESTDIR)$(PREFIX)/libexec/ztlaunch/ztlaunch-runc'
	install -D -m 755 bin/ztlaunch-keeper '$(DESTDIR)$(PREFIX)/libexec/ztlaunch/ztlaunch-keeper'
	install -D -m 755 bin/ztlaunch-sbom '$(DESTDIR)$(PREFIX)/libexec/ztlaunch/ztlaunch-sbom'

.PHONY: dist
dist: ## make the release tarball and SHA256SUMS in dist/
	@$(MAKE) build TRIM=-trimpath
	@.ci/dist.sh '$(VERSION)' $(RUNC)

.PHONY: clean
clean: ## remove everything that was made, caches too
	rm -rf bin dist .cache

## Test

.PHONY: images
images: setup-test .cache/testbin/images ## build the agents, servers and images that tests and the demo use
	@.ci/images.sh

.cache/testbin/images: setup FORCE
	@go build -ldflags "$(STRIP)" -o $@ ./testdata/images

$(SUM): setup FORCE
	@go build -o $@ ./.ci/testsum

.PHONY: test
test: build images $(SUM) ## run every test; one that cannot run here is counted aloud
	@CGO_ENABLED=$(TESTCGO) .ci/test.sh $(SUM) $(TESTFLAGS)

# A test build holds roots in one form and looks at them often. Only the linker can
# make one, and it says so itself (ztlaunch version).
.cache/testbin/%/ztlaunch: build FORCE
	@mkdir -p $(@D); $(PINS) \
	go build -ldflags "$(LAUNCHER) -X main.onlyForm=$* -X main.watchEvery=2s" -o $@ ./cmd/ztlaunch
	@for helper in bin/ztlaunch-*; do ln -sf "$(CURDIR)/$$helper" $(@D)/; done

.PHONY: forms
forms: .cache/testbin/loop/ztlaunch .cache/testbin/extracted/ztlaunch images $(SUM) ## end to end and demo again, with each weaker root form forced
	@for form in loop extracted; do \
		export ZTLAUNCH_BIN='$(CURDIR)'/.cache/testbin/$$form; echo "roots: $$form"; \
		go test -json -count=1 -timeout 15m ./cmd/ztlaunch | $(SUM); \
		bash testdata/demo/demo.sh >.cache/demo-$$form.log 2>&1 || { cat .cache/demo-$$form.log; exit 1; }; \
	done

# What verifies is built for every system; what launches, for Linux alone. Tests are
# type-checked with it, and run there with `go test` of these packages.
PORTABLE := ./verify/... ./sbom/... ./launch/audit ./launch/plan ./cmd/ztlaunch

.PHONY: cross
cross: setup ## build for macOS and Windows, and vet each with its tests
	@for system in darwin/arm64 windows/amd64; do \
		export GOOS=$${system%/*} GOARCH=$${system#*/}; \
		go build -o .cache/cross/$$GOOS-$$GOARCH/ ./cmd/ztlaunch; \
		go vet $(PORTABLE); \
		echo "$$system: builds, and its tests compile"; \
	done
.PHONY: conformance
conformance: $(SUM) ## decide every case of the vectors in VECTORS (../shared/vectors)
	@.ci/conformance.sh $(SUM) '$(abspath $(VECTORS))'

.PHONY: race
race: ## the same under the race detector
	@$(MAKE) test TESTCGO=1 TESTFLAGS='-race $(TESTFLAGS)'

.PHONY: fuzz
fuzz: setup ## run each fuzz target for FUZZTIME (5s)
	@.ci/fuzz.sh $(FUZZTIME)

.PHONY: corpus
corpus: setup ## keep what fuzzing found and nothing kept so far reaches
	@go run ./.ci/corpus ./sbom ./profiles ./verify/... ./launch/...

.PHONY: check
check: fmt vet lint race fuzz ## format, vet, lint, build, race tests end to end, short fuzz

.PHONY: fmt
fmt: setup ## fail on files that gofmt would change
	@found=$$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 -r gofmt -l); \
	[ -z "$$found" ] || { printf 'gofmt would change:\n%s\n' "$$found" >&2; exit 1; }

.PHONY: vet
vet: setup
	@go vet $(PACKAGES)

.PHONY: lint
lint: $(LINT) ## run golangci-lint with .golangci.yml
	@$(LINT) run $(PACKAGES)

$(LINT): .ci/tools.mod .ci/tools.sum | setup
	@echo 'build golangci-lint (a few minutes, once)' >&2
	@go build -modfile=.ci/tools.mod -ldflags "$(STRIP)" -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# Each is built from its own module, so that go.mod says nothing of it.
OTHERS := .cache/tools/cosign-$(COSIGN) .cache/tools/cosign-$(COSIGN2) .cache/tools/oras-$(ORAS)

.PHONY: interop
interop: build images $(SUM) $(OTHERS) ## hold us against the real cosign, 3 and 2, and oras, both ways
	@ZTLAUNCH_COSIGN='$(CURDIR)/.cache/tools/cosign-$(COSIGN)' ZTLAUNCH_COSIGN2='$(CURDIR)/.cache/tools/cosign-$(COSIGN2)' \
	ZTLAUNCH_ORAS='$(CURDIR)/.cache/tools/oras-$(ORAS)' go test -json -count=1 -run Interop $(PACKAGES) | $(SUM)

OTHER = go install -trimpath -buildvcs=false
.cache/tools/cosign-$(COSIGN): OTHER += github.com/sigstore/cosign/v3/cmd/cosign@$(COSIGN)
.cache/tools/cosign-$(COSIGN2): OTHER += github.com/sigstore/cosign/v2/cmd/cosign@$(COSIGN2)
.cache/tools/oras-$(ORAS): OTHER += oras.land/oras/cmd/oras@$(ORAS)
$(OTHERS): | setup
	@echo 'build $(@F) (a few minutes, once)' >&2
	@mkdir -p $@.d
	@GOFLAGS= GOBIN='$(CURDIR)/$@.d' CGO_ENABLED=0 $(OTHER)
	@mv $@.d/* $@; rmdir $@.d

.PHONY: bench
bench: build images .cache/tools/cosign-$(COSIGN) ## measure version, verify beside cosign, and warm launches beside runc, docker and podman
	@ZTLAUNCH_COSIGN='$(CURDIR)/.cache/tools/cosign-$(COSIGN)' go run ./testdata/bench

.PHONY: demo
demo: build images ## verify and run a real agent, then show five refusals
	@if [ -e testdata/demo/demo.sh ]; then bash testdata/demo/demo.sh; else go run ./testdata/demo; fi

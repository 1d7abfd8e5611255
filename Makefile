# Every target does its own set-up, says what it does, and can be run again at once.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help build test unit e2e bench lint lint-setup fmt demo demo-rm setup node-image images

# A checkout owned by another user must build too.
export GOFLAGS += -buildvcs=false

GOLANGCI_VERSION := v2.13.2
# A linter built by an older Go refuses newer code, so it is kept by both versions.
GOLANGCI = .tools/golangci-lint-$(GOLANGCI_VERSION)-$(shell go env GOVERSION)/golangci-lint

# Programs of the tests, which ./... leaves out.
TESTDATA := ./testdata/cloud/... ./testdata/crate ./testdata/docker-machine ./testdata/hello ./testdata/rethinkdb ./testdata/sudo ./testdata/wire
# Tests that run in a VM alone.
KERNEL := ./testdata/kernel
# One without a first line, which SC2148 wants, is sourced or embedded.
SCRIPTS = .ci/run $(shell find . -name .tools -prune -o -name '*.sh' -print)

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.* ## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

build: ## make bin/skep
	@scripts/setup.sh build
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/skep ./cmd/skep

test: unit e2e ## run all tests, on real engines

unit: setup build ## run the unit tests
	packages=$$(go list ./...) && go test -race -p 2 $$(grep -v /e2e <<<"$$packages") $(TESTDATA)

e2e: setup build node-image images ## run the end-to-end tests
	go test -p 2 -parallel 3 -count=1 -timeout 25m -v ./e2e/...

bench: setup build node-image ## measure against the floor
	@testdata/images.sh base rqlite rethinkdb hello big wire >/dev/null
	go run ./bench

lint: lint-setup $(GOLANGCI) ## check format, modules, code and scripts
	@files=$$(gofmt -l .) && [ -z "$$files" ] || { echo "make fmt would change:" $$files >&2; exit 1; }
	go mod tidy -diff
	go vet ./... $(TESTDATA) $(KERNEL)
	$(GOLANGCI) run ./... $(TESTDATA) $(KERNEL)
	shellcheck -x -P SCRIPTDIR -e SC2148 $(SCRIPTS)

$(GOLANGCI):
	@echo "installing golangci-lint $(GOLANGCI_VERSION), which takes minutes the first time" >&2
	@rm -rf .tools/golangci-lint-*
	GOBIN=$(CURDIR)/$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

lint-setup:
	@scripts/setup.sh lint

fmt: ## format the Go code and tidy the module
	go mod tidy
	gofmt -w .

demo: node-image ## an environment from nothing: nodes, databases, an app, tunnels
	@testdata/images.sh base rqlite rethinkdb hello >/dev/null
	@scripts/demo.sh

demo-rm: setup build ## remove what the demo made, and see that nothing is left
	@scripts/demo-rm.sh

setup: ## install missing packages, start the engine
	@scripts/setup.sh

node-image: setup build ## make the image of the local nodes
	@providers/docker/node/debian.sh skep-node:$$(bin/skep version)

images: setup ## make the images that tests deploy
	@testdata/images.sh >/dev/null

test-kernel: build ## run what needs a full kernel, in a VM of Debian's own
	@scripts/setup.sh kernel
	@testdata/images.sh base rqlite hello >/dev/null
	@testdata/kernel/test.sh .kernel

# make demo   a real cluster, whypull on it, pods broken in the usual ways
# make test   everything that a change has to pass
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= dev
FUZZTIME ?= 30s
PACKAGES ?= ./...
AGENTS ?= 200
LAB := deploy/lab
MODULES := . $(LAB) $(LAB)/keyringdiff
# The image library of CRI-O needs no C with these tags; the lab builds it so too.
CRIO := cd $(LAB)/crio && CGO_ENABLED=0 GOFLAGS='$(GOFLAGS) -tags=containers_image_openpgp,exclude_graphdriver_btrfs'
# grpcnotrace leaves out grpc's trace pages, whose templates would keep the
# linker from dropping unused code: 5 MB. nethttpomithttp2 leaves out net/http's
# copy of HTTP/2: 0.5 MB. Nothing uses it: client-go brings golang.org/x/net/http2
# for the API server, and registries are asked as containerd asks them, in HTTP/1.1.
# Only the standard library is inlined: 1.5 MB. Most of the rest is generated decoders,
# which hardly call anything in their loops, and code that waits for a network. Inlining
# in OpenTelemetry turns its thousands of attributes, of which none is used, into data
# that the linker drops: 0.17 MB.
BUILD := CGO_ENABLED=0 go build -tags grpcnotrace,nethttpomithttp2 -gcflags=all=-l -gcflags=std= -gcflags=go.opentelemetry.io/...= -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)"

.PHONY: help
help: ## list what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## build the agent and the kubectl plugin into bin/
	$(BUILD) -o bin/whypull ./cmd/whypull
	$(BUILD) -o bin/kubectl-why_pull ./cmd/kubectl-why_pull

.PHONY: man
man: # man pages and completion into bin/, for the archives of a release
	rm -rf bin/man bin/completion && mkdir -p bin/man bin/completion
	go test ./cmd/whypull ./cmd/kubectl-why_pull -run 'TestManPages$$' -count=1 -man $(CURDIR)/bin/man
	for shell in bash zsh fish; do go run ./cmd/whypull completion $$shell >bin/completion/whypull.$$shell; done

# GoReleaser and what reads the programs for a bill of materials.
GORELEASER := go tool -modfile=.ci/release.mod goreleaser
# What GoReleaser leaves: image, chart, krew manifest, notes.
RELEASE := cd $(LAB) && go run ./cmd/release --epoch $$(git log -1 --format=%ct)
# All that is published, in one file: who publishes it checks one sum, and builds nothing.
PACK := cd dist && tar -cf release.tar *.tar.gz *.zip *.tgz *.cdx.json why-pull.yaml checksums.txt notes.md oci *.digest
IMAGE := ghcr.io/whypull/whypull
CHART := ghcr.io/whypull/charts/whypull

.PHONY: release-snapshot
release-snapshot: ## a release of this commit in dist/, unsigned and not uploaded; needs no Docker
	$(GORELEASER) check
	$(GORELEASER) release --snapshot --clean
	$(RELEASE) assemble
	$(PACK)

.PHONY: release
release: # a release of this tag in dist/
	$(GORELEASER) check
	$(GORELEASER) release --clean --skip=publish
	$(RELEASE) check
	$(RELEASE) assemble
	$(PACK)

.PHONY: release-unpack
release-unpack: # a release that another job has built, whose release.tar has this SHA256
	echo "$$SHA256  dist/release.tar" | sha256sum --check --strict
	tar -xf dist/release.tar -C dist
	cd dist && sha256sum --check --strict --quiet checksums.txt

.PHONY: release-push
release-push: # uploads image and chart, and signs them
	cd $(LAB) && go run ./cmd/push
	cosign sign --yes $(IMAGE)@$$(cat dist/image.digest)
	cosign sign --yes $(CHART)@$$(cat dist/chart.digest)
	for arch in amd64 arm64; do cosign attest --yes --type cyclonedx --predicate dist/whypull_*_linux_$$arch.cdx.json $(IMAGE)@$$(cat dist/image-$$arch.digest); done

.PHONY: release-sign
release-sign: # signs the checksums
	cosign sign-blob --yes --bundle dist/checksums.txt.sigstore.json dist/checksums.txt

.PHONY: release-publish
release-publish: # the release's page
	gh release create "$$TAG" --verify-tag --title "$$TAG" --notes-file dist/notes.md $$(case "$$TAG" in *-*) echo --prerelease ;; esac) \
		dist/*.tar.gz dist/*.zip dist/*.tgz dist/*.cdx.json dist/why-pull.yaml dist/checksums.txt dist/checksums.txt.sigstore.json

.PHONY: demo
demo: ## start a cluster, break pods in it, and show what whypull says
	cd $(LAB) && go run ./cmd/lab demo --source ../..

.PHONY: demo-down
demo-down: ## stop the demo's cluster and leave nothing behind
	cd $(LAB) && go run ./cmd/lab remove

# The first beside the others, since a node mostly waits. On a new machine the programs of
# the oldest Kubernetes are built while the newest is tested.
TESTS := test-e2e-newest test-format test-vet test-cross test-lint test-workflows test-unit test-same test-fuzz test-keyring test-lab test-e2e-oldest
.PHONY: test
test: ## everything
	@$(MAKE) $(firstword $(TESTS)) & $(MAKE) $(filter-out $(firstword $(TESTS)),$(TESTS)) && others=0 || others=$$?; wait $$! && exit $$others

.PHONY: test-static
test-static: test-format test-vet test-cross test-lint test-workflows ## what needs no run of the programs

.PHONY: test-format
test-format: ## gofmt
	@files=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$files" ]; then echo "not gofmt-ed:" $$files; exit 1; fi

.PHONY: test-vet
test-vet: ## go vet
	for m in $(MODULES); do (cd $$m && go vet ./...); done
	$(CRIO) go vet ./...

.PHONY: test-cross
test-cross: ## whypull check and the kubectl plugin build for macOS and Windows, and so do their tests
	for on in darwin/arm64 windows/amd64; do (export CGO_ENABLED=0 GOOS=$${on%/*} GOARCH=$${on#*/}; go build -gcflags=all=-l ./cmd/... && go vet -gcflags=all=-l ./cmd/... ./agent/check ./cri/hostfs); done

.PHONY: test-lint
test-lint: ## golangci-lint
	for m in . $(LAB); do (cd $$m && go tool -modfile=$(CURDIR)/.ci/lint.mod golangci-lint run --config $(CURDIR)/.golangci.yaml ./...); done

.PHONY: test-workflows
test-workflows: ## actionlint; our own rules are a unit test
	go tool -modfile=.ci/workflows.mod actionlint

.PHONY: shells
shells: ## the shells that remedies are pasted into; installs missing ones
	@missing=; for s in bash dash zsh; do command -v $$s >/dev/null || missing="$$missing $$s"; done; \
	[ -z "$$missing" ] || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; } || \
	echo "cannot install$$missing: remedies are not tested there"

.PHONY: test-unit
test-unit: shells ## unit tests of the product
	go test -race -shuffle=on -timeout 30m ./...

.PHONY: test-same
test-same: ## same facts, same verdict
	go test -race -run 'TestScenarios$$|TestDiagnoseIsPure|TestDecide' ./agent/diagnosis

.PHONY: test-fuzz
test-fuzz: ## every fuzz target for a moment: a number of runs, for a target whose time ends fails on a busy machine
	$(MAKE) fuzz FUZZTIME=3000x

.PHONY: test-lab
test-lab: lab-build ## unit and life-cycle tests of the lab
	cd $(LAB) && go test -shuffle=on -timeout 30m $$(go list ./... | grep -vE '/(e2e|runtimes|chaos)$$')
	$(CRIO) go test ./...

.PHONY: test-keyring
test-keyring: ## our keyring against the kubelet's own
	cd $(LAB)/keyringdiff && go test -timeout 30m ./...

.PHONY: test-e2e
test-e2e: test-e2e-newest test-e2e-oldest ## whypull on a real node

.PHONY: test-e2e-newest
test-e2e-newest: lab-build-newest # with the newest Kubernetes
	cd $(LAB) && go test -count=1 -timeout 60m -parallel 16 ./e2e ./runtimes ./chaos

.PHONY: test-e2e-oldest
test-e2e-oldest: lab-build # with the oldest
	cd $(LAB) && go test -count=1 -timeout 40m -parallel 16 ./e2e -args -kubernetes 1.34

.PHONY: test-chaos
test-chaos: lab-build ## a node on a bad day: every fault, an hour
	cd $(LAB) && go test -count=1 -v -timeout 120m ./chaos -long

.PHONY: test-release
test-release: release-snapshot lab-build ## the snapshot's chart and image on a real node, its plugin installed by krew
	cd $(LAB) && go test -count=1 -timeout 40m -run 'TestHelm$$' ./e2e -dist $(CURDIR)/dist
	cd $(LAB) && go test -count=1 -run TestSnapshot ./release -dist $(CURDIR)/dist

.PHONY: lab-build-newest
lab-build-newest: # as lab-build, without the oldest Kubernetes
	cd $(LAB) && go run ./cmd/lab build --newest

.PHONY: lab-build
lab-build: # the lab's programs: minutes on a new machine, nothing after that
	cd $(LAB) && go run ./cmd/lab build

.PHONY: test-newest-kubernetes
test-newest-kubernetes: newest-kubernetes test-e2e ## whypull on the newest Kubernetes

.PHONY: newest-kubernetes
newest-kubernetes: # changes the module files of the lab's cluster
	cd $(LAB)/binaries && new=$$(go list -m -f '{{.Version}}' k8s.io/kubernetes@latest) && \
	old=$$(sed -n 's,.*k8s.io/kubernetes \(v[^ ]*\).*,\1,p' modules/kubernetes.mod) && dir=$$(mktemp -d) && \
	sed "/k8s\.io\//s/ v\([01]\)$${old#v1}/ v\1$${new#v1}/" modules/kubernetes.mod >$$dir/go.mod && \
	(cd $$dir && go mod tidy) && cp $$dir/go.mod modules/kubernetes.mod && cp $$dir/go.sum modules/kubernetes.sum && \
	minor() { echo "$$1" | sed 's/^v//; s/\.[^.]*$$//'; } && \
	sed -i "s/kubernetes(\"kubernetes\", \"$$old\")/kubernetes(\"kubernetes\", \"$$new\")/; s/Kubernetes: \"$$(minor $$old)\"/Kubernetes: \"$$(minor $$new)\"/" table.go && echo "the lab runs Kubernetes $$new"

.PHONY: soak
soak: ## hostile neighbors against the agent, again and again, with the race detector
	go test -race -count=20 -timeout 100m -run 'TestSoak|TestHostileNeighbors' ./agent ./cmd/whypull

.PHONY: bench
bench: lab-build ## size, memory, time to diagnosis, requests; measured on the lab
	go test -run '^$$' -bench . ./agent/diagnosis
	go test -run '^$$' -bench Soak -benchtime 1x ./cmd/whypull
	cd $(LAB) && go run ./cmd/lab bench --source ../.. --dir "$${WHYPULL_LAB_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/whypull/lab}-bench"

.PHONY: bench-storm
bench-storm: lab-build ## an agent whose node's pods fail at once, beside a client that only patches them
	cd $(LAB) && go run ./cmd/lab storm --source ../.. --dir "$${WHYPULL_LAB_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/whypull/lab}-storm"

.PHONY: bench-peers
bench-peers: lab-build ## the agent beside node_exporter and others, as far as they can be built here
	cd $(LAB) && go run ./cmd/lab peers --source ../.. --dir "$${WHYPULL_LAB_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/whypull/lab}-peers"

.PHONY: bench-soak
bench-soak: ## 5,000 verdicts of one agent, and what is left of them in its process
	go test -count=1 -v -timeout 100m -run 'TestLeak$$' ./cmd/whypull -args -verdicts 5000

.PHONY: scale
scale: ## what AGENTS agents on simulated nodes cost the API server
	cd $(LAB) && go run ./cmd/lab scale --source ../.. --agents $(AGENTS) --dir "$${WHYPULL_LAB_DIR:-$${XDG_CACHE_HOME:-$$HOME/.cache}/whypull/lab}-scale"

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each, as 5m or 10000x
	@program=$$(mktemp); trap 'rm -f $$program' EXIT; \
	go list -f '{{.ImportPath}} {{.Dir}}' $(PACKAGES) | while read -r package dir; do \
		targets=$$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$dir/*_test.go 2>/dev/null || true); [ -n "$$targets" ] || continue; \
		go test -c -fuzz . -o $$program $$package; \
		for t in $$targets; do echo "$$t"; (cd $$dir && $$program -test.run '^$$' -test.fuzz "^$$t$$" -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 1000x -test.fuzzcachedir "$$(go env GOCACHE)/fuzz/$$package" </dev/null); done; \
	done

.PHONY: vuln
vuln: ## govulncheck; needs the vulnerability database
	go tool -modfile=.ci/vuln.mod govulncheck -tags grpcnotrace,nethttpomithttp2 ./...

.PHONY: deprecated
deprecated: ## modules that their authors call deprecated or have withdrawn; needs the module proxy
	@set -- . '' $(LAB) ''; for mod in .ci/*.mod; do set -- "$$@" . $$mod; done; found=; \
	while [ $$# -gt 0 ]; do \
		direct=$$(cd $$1 && if [ -z "$$2" ]; then go list -m -f '{{if not (or .Indirect .Main .Replace)}}{{.Path}}{{end}}' all; else go list -modfile=$$2 -f '{{.Module.Path}}' tool | sort -u; fi); \
		found=$$found$$(cd $$1 && go list -m -u -retracted $${2:+-modfile=$$2} -f '{{if or .Deprecated .Retracted}}{{println .Path .Version .Deprecated .Retracted}}{{end}}' $$direct); shift 2; \
	done; [ -z "$$found" ] || { echo "$$found"; exit 1; }

.PHONY: tidy
tidy: ## go mod tidy in every module
	for m in $(MODULES) $(LAB)/crio; do (cd $$m && go mod tidy); done

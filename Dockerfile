# Multi-arch: docker buildx build --platform linux/amd64,linux/arm64 .
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETOS TARGETARCH VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -tags grpcnotrace,nethttpomithttp2 -gcflags=k8s.io/...=-l -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /whypull ./cmd/whypull

# Nothing but the binary: the node's own trust store and resolvers are used.
FROM scratch
COPY --from=build /whypull /whypull
ENTRYPOINT ["/whypull"]

# Multi-arch: docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=0.1.0 .
# The same version of Go as in go.mod: the program has the same bytes as a release's.
FROM --platform=$BUILDPLATFORM golang:1.26.6 AS build
ARG TARGETOS TARGETARCH VERSION=dev
ENV GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -tags grpcnotrace,nethttpomithttp2 -gcflags=all=-l -gcflags=std= -gcflags=go.opentelemetry.io/...= -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /whypull ./cmd/whypull

# Nothing but the binary: the node's own trust store and resolvers are used.
FROM scratch
ARG VERSION=dev REVISION=unknown
LABEL org.opencontainers.image.title="whypull" \
      org.opencontainers.image.description="Explains why a pod cannot pull its image" \
      org.opencontainers.image.vendor="whypull" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.url="https://github.com/whypull/whypull" \
      org.opencontainers.image.source="https://github.com/whypull/whypull" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /whypull /whypull
ENTRYPOINT ["/whypull"]

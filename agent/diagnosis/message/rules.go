package message

import "github.com/whypull/whypull/agent/diagnosis"

// textRule says which texts speak of a cause. A list is separated by "|". A
// phrase is in lower case, starts where a word or a punctuation mark starts, and
// may end with "$" for the end of a word. "_" stands for every name and "url"
// for every URL ("http-url" for one without TLS), see [mask].
type textRule struct {
	cause    diagnosis.Cause
	any      string // one of these is in the text; "" asks for no phrase
	with     string // and one of these, if set
	not      string // and none of these
	hub      bool   // and, if set, it is about Docker Hub
	from, to int    // and, if set, the HTTP status is in this range
}

// Phrases that stand for a fact as well.
const (
	expiredCredentials = "token has expired|token is expired|token expired|token was expired|tokenexpired|expiredtoken|expiredtokenexception|expired token|jwt is expired|jwt expired|credentials have expired|credentials expired|credential has expired|reauthenticate|request has expired|request is expired|password has expired|password expired|has expired. please|secret is expired|aadsts700082|aadsts7000222"
	// Go prints the bare text of the status when CONNECT is refused (net/http,
	// persistConn of a proxy).
	proxyAnswers = "proxy authentication required|url: forbidden|url: bad gateway|url: service unavailable|url: gateway timeout|url: gateway time-out|url: bad request|url: not allowed|url: method not allowed|url: internal server error|url: access denied|url: filtered|url: denied by|url: unknown status code|url: network authentication required|url: not implemented|url: tunnel|url: policy|url: connect failed|url: connection failed|url: no such domain|url: access violation|err_access_denied|squid"
)

// textRules is read from the top, the first match decides. What a component
// says of itself comes first, then what it says of others; a failed prerequisite
// (disk, proxy, name, connection, TLS) before what needs it; the particular
// before the general. New texts are added to the row of their cause, with a
// line in testdata/causes.jsonl.
//
//nolint:gochecknoglobals // never written
var textRules = []textRule{
	// Runs, but not on this machine: the kernel's ENOEXEC.
	{cause: diagnosis.PlatformMismatch, any: "exec format error"},
	// Not about images: the kubelet on crashes, probes, volumes, networks, scheduling.
	{cause: diagnosis.Unknown, any: "back-off restarting failed|crashloopbackoff|liveness probe|readiness probe|startup probe|mountvolume.|failedscheduling|failedmount|unable to attach or mount volumes|createcontainerconfigerror|runcontainererror|oomkilled|runc create failed|starting container process|failed to create shim|failed to start container|failed to setup network for sandbox|networkplugin cni|network plugin is not ready|unable to connect to the server|failed calling webhook|logged in to the server|with storageclass|attachvolume.|with killpodsandboxerror|failed to provision volume|failed to list|failed to watch|leader election|load balancer|fetch metrics|get metrics|panic: ", not: "failed to pull image|failed to pull and unpack|couldn't parse image|with pull policy of never"},
	{cause: diagnosis.Unknown, any: "oci runtime", not: "initializing source|failed to resolve|pull access denied"},
	{cause: diagnosis.Unknown, any: "create pod sandbox", with: "context deadline exceeded|context canceled", not: "image|pull|pulling|pause|dial|url"},

	// Runtimes that know no image volume take it for a mount of the host's path "":
	// containerd before 2.1 (WithMounts), CRI-O before 1.31, cri-dockerd.
	{cause: diagnosis.ImageVolumeUnsupported, any: "failed to mkdir \"\": mkdir :|mount.hostpath is empty|invalid mount config for type _: field source must not be empty"},

	// The kubelet, before it asks the runtime: images/helpers.go, kubelet_pods.go,
	// credentialprovider/config.go (the raw errors of a secret), image_manager.go.
	{cause: diagnosis.PullThrottled, any: "pull qps exceeded|qps exceeded|qps limit"},
	{cause: diagnosis.PullSecretMissing, any: "unable to retrieve some image pull secrets|unable to retrieve pull secret|unable to retrieve image pull secret|failedtoretrieveimagepullsecret"},
	{cause: diagnosis.PullSecretMissing, any: "pull secret|imagepullsecret|imagepullsecrets|image pull secrets", with: "not found|does not exist|not registered"},
	{cause: diagnosis.PullSecretMissing, any: "error syncing pod, skipping: secrets _ not found"},
	{cause: diagnosis.PullSecretMalformed, any: "illegal base64 data|unable to parse auth field|unable to decode auth field|must be formatted as base64|invalid auth config|invalid auth configuration|invalid decoded auth|x-registry-auth|missing username or secret|.dockerconfigjson|dockerconfigjson.|dockerconfigjson|dockerconfigentry|dockercfg|trying to unmarshal json"},
	{cause: diagnosis.PullSecretMalformed, any: "json: cannot unmarshal|invalid character", with: "dockerconfig|auths|auth.json|credentialprovider|unmarshaling json at"},

	// Names: containers/image shortnames, then distribution/reference and its callers.
	{cause: diagnosis.ShortNameAmbiguous, any: "short name mode|short-name _|short-name resolution|short name |returns ambiguous list|unqualified-search|no registries found in|no registries configured|cannot prompt without a tty|getting default registries to try"},
	{cause: diagnosis.ContentCorrupt, any: "content digest in response|in header not a valid digest"},
	{cause: diagnosis.InvalidImageName, any: "invalid reference format|couldn't parse image|failed to parse image|failed to parse reference|invalidimagename|invalid repository name|invalid image name|invalid image reference|repository name must|repository name (|cannot parse input|parsing image reference|error parsing reference|is not a valid repository|invalid tag format|invalid namespace name|could not parse reference|valid image spec|unsupported digest algorithm|invalid checksum digest|invalid reference:|name invalid: |name_invalid|cannot specify 64-byte"},

	{cause: diagnosis.ImageNotPresent, any: "is not present with pull policy of never|errimageneverpull|no such image|image not known", not: "locating image|error reading image"},

	// Signatures: containers/image policy.json, containerd's image verifiers,
	// Docker content trust, Harbor with Notary or cosign.
	{cause: diagnosis.SignatureRejected, any: "signaturevalidationfailed|signature validation failed|a signature was required|source image rejected|is rejected by policy|rejected by policy|image verifier|no matching signatures|no signatures found|no valid signature|signature verification failed|failed to verify signature|failed to verify the signature|cryptographic signature|invalid signature|invalid gpg signature|signature for identity|not signed by|is not signed|not signed|remote trust data does not exist|no valid trust data|path to a trusted root|invalid policy in|signature verification policy|unrecognized signature format|unsupported signature format|signatures do not satisf|failed signature verification|manifest unverified|error validating signature|error verifying signature|signature not found|no signature found|missing _ annotation", not: "x509: "},
	// A manifest of the first schema without its signature (docker/libtrust).
	{cause: diagnosis.UnsupportedFormat, any: "_: no signatures$"},
	// Policies of Harbor, Xray, Nexus Firewall, registries.conf, VPC service
	// controls, ACR's firewall, admission.
	{cause: diagnosis.PolicyBlocked, any: "due to configured policy|projectpolicyviolation|project_policy_violation|quarantine|quarantined|blocking policy|blocked by|current image with|severity of vulnerab|operation is disallowed|is blocked in|registry is blocked|organization's policy|organizational policy|denied by attestor|image policy webhook|legal reasons|export control|not available in your country|not available in your region|security policy|policy violation|violates policy|is not allowed access|download blocked"},
	{cause: diagnosis.PolicyBlocked, any: "denied the request", not: "ingress|quota|podsecurity|network policy|route"},
	{cause: diagnosis.PolicyBlocked, from: 451, to: 451},

	// The node's disk: ENOSPC, EDQUOT, Windows, devicemapper, evictions.
	{cause: diagnosis.DiskFull, any: "no space left on device|no space left|disk quota exceeded|not enough space|not enough disk space|insufficient space|insufficient disk space|insufficient free space|insufficient free disk space|file system is full|disk is full|low on resource: ephemeral-storage|thin pool"},
	{cause: diagnosis.ImageStoreCorrupt, any: "garbage collect required|image garbage collection failed|wanted to free|freediskspacefailed|imagegcfailed"},

	// The node's registry configuration: containerd's hosts.toml, registries.conf.
	{cause: diagnosis.RegistryConfigInvalid, any: "no resolve hosts|registries configuration|hosts.toml|host tree|load ca cert|read ca cert|read cert file|load cert file|initialize cert pool|system cert pool|no corresponding key file|no corresponding cert file|parse registry endpoint"},
	// The address of an endpoint, in the words of net/url and net/http; containerd's
	// refusal to load its CRI plugin.
	{cause: diagnosis.RegistryConfigInvalid, any: "missing protocol scheme|unsupported protocol scheme|first path segment in url|invalid port _|in host name|no host in request url|invalid url escape|invalid control character in url|invalid userinfo|in host$", not: "proxy|location header|failed to parse location|realm"},
	{cause: diagnosis.RegistryConfigInvalid, any: "cannot be set when", with: "config_path|_ is provided"},

	// The runtime itself cannot be reached; not a connection to a registry.
	{cause: diagnosis.RuntimeError, any: "dial unix|_.sock|unknown service runtime|unknown service containerd|connect to the docker daemon|docker daemon running|for api route and version|transport is closing|error reading from server|larger than max|containerd.sock|crio.sock|docker.sock|cri-dockerd.sock"},
	{cause: diagnosis.RuntimeError, any: "failed to inspect image|imageinspecterror", with: "context deadline exceeded|code = deadlineexceeded|code = unavailable"},
	{cause: diagnosis.ImageStoreCorrupt, any: "id or size of image"},

	// Plugins that fetch credentials: the kubelet's, Docker's, those of cloud agents,
	// whatever kept them from working.
	{cause: diagnosis.CredentialProviderFailed, any: "credential provider|credential-provider|docker-credential-|credential helper|nocredentialproviders|ec2rolerequesterror|no ec2 imds role|failed to get credentials|failed to retrieve credentials|error getting credentials|getting credentials from|failed to refresh cached credentials|external registry credential", not: "proxyconnect"},

	// The proxy: not reached, or it refuses.
	{cause: diagnosis.ProxyFailed, any: "proxyconnect|invalid proxy address|invalid proxy url|proxy scheme|parse proxy url|socks connect|socks5|proxy error|connect to proxy|proxy server|to the proxy"},
	{cause: diagnosis.ProxyFailed, any: proxyAnswers},
	{cause: diagnosis.ProxyFailed, from: 407, to: 407},

	// Names of registries: Go's resolver, cgo's (EAI_*), Windows', curl's.
	{cause: diagnosis.RegistryNameNotFound, any: "no such host|name or service not known|nodename nor servname|name does not resolve|no data of the requested type|no address associated with|unknown host|could not resolve host|nxdomain"},
	{cause: diagnosis.DNSFailure, any: "server misbehaving|temporary failure in name resolution|temporary error during hostname resolution|cannot unmarshal dns|could not contact dns|read udp|write udp|dial udp|dnsquery|servfail|error resolving|failure in name resolution"},
	{cause: diagnosis.DNSFailure, any: "lookup ", with: "dial tcp: lookup |tcp: lookup |url: lookup |i/o timeout|connection refused|try again|no answer from|on 127|:53|context deadline exceeded|operation was canceled"},

	// TLS: net/http's first, for the certificate would not help; crypto/x509;
	// alerts (remote error); openssl's words.
	{cause: diagnosis.HTTPSMismatch, any: "server gave http response to https client|server gave https response|http request to an https server|malformed http response|plain http request was sent|does not look like a tls handshake|oversized record|wrong version number|http-url: 400 bad request"},
	{cause: diagnosis.NetworkUnreachable, any: "tls: bad record mac|tls: use of closed connection"},
	{cause: diagnosis.TLSUntrusted, any: "signed by unknown authority|unknown authority|certificate is not trusted|certificate not trusted|self-signed certificate|self signed certificate|local issuer certificate|issuer certificate|verify the first certificate|failed to load system roots|not authorized to sign|cannot sign this kind of certificate|standards compliant|not trusted by|unable to verify certificate|certificate verify failed", not: "has expired or is not yet valid: current time"},
	{cause: diagnosis.TLSExpired, any: "has expired or is not yet valid|certificate has expired|certificate expired|certificate is not yet valid|certificate is expired|tls: expired certificate"},
	{cause: diagnosis.TLSHostnameMismatch, any: "certificate is valid for|certificate is not valid for|not valid for any names|names, but wanted to match|contain any ip sans|legacy common name|cannot validate certificate for|no alternative certificate|hostname mismatch|does not match target host"},
	{cause: diagnosis.ConnectionTimeout, any: "tls handshake timeout"},
	{cause: diagnosis.TLSUntrusted, any: "failed to verify certificate"},
	{cause: diagnosis.TLSHandshakeFailed, any: "remote error: tls|tls: |x509: |x509 key pair|bad certificate|handshake failure|client certificate|ssl handshake|ssl routines|no required ssl certificate|handshake failed"},

	// Connections: net and net/http, Windows' words, HTTP/2.
	{cause: diagnosis.ConnectionTimeout, any: "i/o timeout|timeout awaiting response headers|client.timeout|request canceled while waiting for connection|connection timed out|operation timed out|did not properly respond|awaiting headers|timeout exceeded while|connect: timeout|connection timeout|read timeout|request timeout"},
	// Not what kubectl, helm and minikube wait for.
	{cause: diagnosis.ConnectionTimeout, any: "timed out waiting for", not: "timed out waiting for the co"},
	{cause: diagnosis.ConnectionRefused, any: "connection refused|actively refused"},
	{cause: diagnosis.NetworkUnreachable, any: "connection reset|broken pipe|no route to host|network is unreachable|host is unreachable|unreachable host|unreachable network|host is down|forcibly closed|aborted by the software|connection abort|use of closed network connection|server closed idle connection|server closed connection|goaway|stream error|stream id|client connection lost|connection broken|url: eof|url: unexpected eof|url: http2:|cannot assign requested address|no buffer space available|address family not supported|network dropped connection|connection timed out by peer|connect: permission denied|connect: operation not permitted|connectex: an attempt was made to access a socket|connect: protocol not available|bad record mac|error sending request for|error trying to connect"},
	{cause: diagnosis.ConnectionTimeout, any: "url: context deadline exceeded|dial tcp", with: "context deadline exceeded|timeout|code = deadlineexceeded"},
	{cause: diagnosis.ConnectionTimeout, any: "failed to do request|pinging container registry", with: "context deadline exceeded|code = deadlineexceeded"},

	// Who asks. The registry's own words on a wrong or old login first.
	{cause: diagnosis.CredentialsExpired, any: expiredCredentials},
	{cause: diagnosis.CredentialsRejected, any: "incorrect username|invalid username|bad credentials|wrong username|wrong user|http basic: access denied|authentication failed|authentication failure|login failed|login attempt|invalid credentials|bad username|invalid token|invalid_token|invalid access token|wrong password|incorrect password|invalid password|credentials are invalid|cannot be authenticated with the token|unauthorized: invalid|not authenticated|invalid_grant|invalid_client|invalid client secret|personal access token", not: "needed permissions|auth challenge realm"},
	// Limits: Docker Hub, Quay, ECR, Artifact Registry, and the bare 429.
	{cause: diagnosis.RateLimited, any: "toomanyrequests|too many requests|pull rate limit|rate limit|rate limits|rate-limit|rate exceeded|ratelimit|quota exceeded|throttlingexception|request throttled|request limit exceeded|too many failed login"},
	{cause: diagnosis.RateLimited, from: 429, to: 429},
	{cause: diagnosis.RegistryError, any: "anonymous token|oauth token|bearer token|auth token|token", from: 500, to: 599},
	{cause: diagnosis.RegistryError, any: "did not include a token|unable to decode token response|decoding bearer token|no realm specified|missing realm|auth challenge realm|supported auth scheme"},

	{cause: diagnosis.AuthenticationRequired, any: "no basic auth credentials|may not login|not logged in|anonymous users|provided for basic auth|unauthenticated request|unauthenticated requests|authentication is required"},
	{cause: diagnosis.AccessDenied, any: "not authorized to perform|permission _ denied|permission denied for|permission denied on|permission_denied|does not have permission|do not have permission|not have the needed permission|needed permissions|have the permission|lacks permission|insufficient permission|access forbidden|unauthorized to access repository|is not authorized|not authorized to access|caller does not have|installation not allowed|no permission|permission to access|access to the resource is forbidden"},
	{cause: diagnosis.DeniedOrNotFound, any: "resource is denied", hub: true},
	{cause: diagnosis.DeniedOrNotFound, any: "pull access denied|server message: insufficient_scope|require 'docker login|does not exist or may require|no pull access|may require authorization|may require 'docker login'"},
	// What is asked for does not fit. Before the refusals: their words are generic.
	{cause: diagnosis.PlatformMismatch, any: "no matching manifest for|no match for platform|no image found in manifest list|no image found in image index|no image found for|choosing image instance|cannot be used on this platform|no child with platform|no instances found for platform|no supported platform|specified platform|descriptor matching platform|match the host operating system|match the detected host|unsupported platform|operating system is not supported|no manifest found for platform|no matching platform|wrong architecture|platform mismatch|cannot use an image with os|based image is incompatible"},

	{cause: diagnosis.AccessDenied, any: "oauth token", from: 403, to: 403},
	{cause: diagnosis.AuthenticationRequired, any: "anonymous token", not: "token: get url|token: post url|token: get http-url|dial tcp"},
	{cause: diagnosis.CredentialsRejected, any: "oauth token", from: 400, to: 404},
	{cause: diagnosis.AuthenticationRequired, any: "authentication required|authenticationrequired|url: unauthorized$|authorization required|login required|must be logged in|need to login|please login", not: "denied: requested access|resource is denied"},
	{cause: diagnosis.AccessDenied, any: "resource is denied|denied: denied|url: denied$|insufficient_scope|insufficient scope"},
	{cause: diagnosis.AccessDenied, from: 403, to: 403, not: "request has expired"},
	{cause: diagnosis.CredentialsRejected, from: 401, to: 401},
	{cause: diagnosis.AuthenticationRequired, any: "unauthorized: |authorization failed"},
	{cause: diagnosis.AuthenticationRequired, any: "unauthorized$", with: "pull|pulling|url|http-url|response from daemon|resolve|registry|manifest|image|status|authorize|errors:"},
	{cause: diagnosis.AccessDenied, any: "denied: |access denied|accessdenied|accessdeniedexception"},

	// A helper program of the runtime.
	{cause: diagnosis.RuntimeError, any: "fork/exec|executable file not found", with: "stream processor|extract layer|register layer|snapshot|pull image|unpack"},

	// Formats: containerd (2.1 dropped schema 1), moby, containers/image, ocicrypt.
	{cause: diagnosis.ContentCorrupt, any: "unexpected media type"},
	{cause: diagnosis.UnsupportedFormat, any: "media type|media-type|mediatype|mime type", with: "unsupported|not supported|no longer supported|not implemented|unknown|invalid|unrecognized|unimplemented|prohibited|no processor|when fetching|unexpected|cannot process|encountered", not: "determining manifest mime type"},
	{cause: diagnosis.UnsupportedFormat, any: "schema 1|schema1|schema v1|schemaversion|schema version|image format v1|unsupported manifest|unknown manifest|v1 repository|v1 registries|v1 container registry|v1 registry|v1 repository request|during manifest conversion|layers and diffids|physical layers|diffid values|byte manifest for|are not supported in docker|oci index found|oci manifest found|manifest_invalid|manifest invalid|mismatched image rootfs|rootfs and manifest layers|diffids don't match|invalid rootfs|when fetching|missing signature key|unsupported docker|unsupported compression|unsupported content-encoding|support layer type|unknown compression|unsupported image|unsupported layer|stream processor|image-specific operation|key unwrapper|private key needed for decryption|not an oci image|is not an image|zstd compression|newer version of|mediatype in manifest|media type in manifest|target is unknown|target is plugin|decryptlayer failed|error decrypting layer|history not equal to number|no fslayers in manifest|wrong config media type|pushing signatures for|unknown type application|for unknown type", not: "status code returned when"},

	// Content: containerd's ingest, moby's layers, containers/image's blobs.
	{cause: diagnosis.ContentCorrupt, any: "unexpected commit digest|manifest does not match|does not match selected manifest|does not match config|not enough data returned|chunks returned by the server|manifest checksum|provided length did not match|provided digest did not match|unmarshal image config|decoding configuration|unexpected commit size|digest did not match|digest does not match|digests do not match|digest mismatch|doesn't match digest|layer verification failed|verification failed for|config verification|short read|expected number of bytes|size validation|unexpected size|size mismatch|tar header|gzip: |flate: |zstd: |zlib: |error decompressing|magic number|wrong diff id|unexpected eof|from remote: not found|blob unknown|unknown blob|blob_unknown|blob not found|content size of zero|negative content size|expected size|unexpected digest|reports content size|match image configuration|invalid checksum|checksum mismatch|checksum does not match|invalid desc|truncated|corrupt input|config claims|does not match expected digest|unexpected end of json input|crc32 mismatch|invalid deflate data|would not match destination", not: "expected at _|error parsing http|var lib|layers.json|images.json"},
	{cause: diagnosis.ContentCorrupt, any: "fetching blob", from: 404, to: 404},

	// The runtime's store: containerd's content and snapshots, containers/storage, moby.
	{cause: diagnosis.ImageStoreCorrupt, any: "content digest|content store|expected at _|layer does not exist|parent snapshot|failed to stat parent|layer not known|locating item named|structure needs cleaning|input/output error|metadata.db|invalid database|after pulling|bolt|layers.json|images.json|commit failed: rename|missing parent|layer chain|failed to load layer|image is corrupt|storage corrupt|corrupted|readlink|missing from local|error loading|error reading image|locating image|does not resolve to an image id|layer for blob|know its layer id|missing parent bucket|snapshot does not exist|snapshot _ does not exist|parent does not exist"},
	{cause: diagnosis.RuntimeError, any: "failed to create prepare|locking ref _|_ locked: unavailable|_ locked for"},
	{cause: diagnosis.ImageStoreCorrupt, any: "no such file or directory", with: "creating overlay mount|failed to stat|symlink _|rename _|committing the finished image|reading layer"},
	{cause: diagnosis.MirrorFailed, any: "request to mirror failed|expected mirror to respond"},
	{cause: diagnosis.RegistryError, from: 500, to: 599},
	{cause: diagnosis.RuntimeError, any: "initialize unpacker|commit snapshot|mount_program|graph driver|graphdriver|unpack platforms|creating overlay mount|whiteout|lchown|insufficient uids|uids or gids|cannot be mapped to a host|snapshotter|erofs|fsverity|dm-verity|failed to extract layer|extraction snapshot|failed to unpack|unpacking image|lease does not exist|lease _|create lease|failed to register layer|applylayer|adding layer with blob|creating layer with id|mount callback|max depth exceeded|unpigz|docker-untar|hcsshim|re-exec error|update image store|processing tar file|failed to start diff|temp mount|mounts: snapshot|wait until daemon|remote snapshot|unpack destination|failed to handle layer|nil pointer|aborted by a go panic|failed to resolve layer"},
	{cause: diagnosis.RuntimeError, any: "operation not permitted|operation not supported|permission denied|too many open files|cannot allocate memory|out of memory|signal: killed|read-only file system|file exists|already exists|resource temporarily unavailable|no such file or directory|directory not empty|device or resource busy|failed to mount|invalid cross-device link|bad file descriptor|file name too long|stale file handle|stale nfs file handle|transport endpoint is not connected|not a directory|no such device|function not implemented", with: "failed to mount _: operation not permitted|from daemon: mkdir|from daemon: open|from daemon: write|from daemon: rename|failed to pull|image pull failed|pinging container registry|initializing source|record image pull intent|failed to copy|failed to commit|failed commit|writing blob|reading blob|copying system image|committing the finished image|storing blob|layer|snapshot|unable to pull|pulling image"},

	// What is asked for is not there: distribution's codes, ECR, Harbor, ACR, GitLab.
	{cause: diagnosis.RepositoryNotFound, any: "name unknown|name_unknown|repository name not known|repository not found|does not exist in the registry|repository _ not found|repositorynotfoundexception|404 page not found|page not found|project not found|error parsing http 404|repository does not exist|no such repository|repo not found", not: "failed open"},
	{cause: diagnosis.RepositoryNotFound, any: "pinging container registry|pinging docker registry", from: 404, to: 404},
	{cause: diagnosis.RepositoryNotFound, any: "project", with: "not found", not: "manifest|artifact|code = notfound"},
	{cause: diagnosis.TagNotFound, any: "manifest unknown|manifest_unknown|manifest not found|manifest tagged by|named manifest is not known|requested image not found|imagenotfoundexception|failed to fetch _ from|requested entity was not found|tag does not exist|resource not found|unknown tag|tag invalid|no such manifest|no manifest found|imageid|artifact not found|artifact _ not found|image not found|image does not exist|content at _ not found|content at url not found|in repository _|_: not found|does not exist within the repository"},
	{cause: diagnosis.TagNotFound, any: "not found in repository|image _ not found|tag _ not found"},
	{cause: diagnosis.TagNotFound, any: "manifest for", with: "not found|not exist"},
	{cause: diagnosis.TagNotFound, any: ": not found$|... not found$|… not found$", with: "failed to resolve|failed to pull|failed to copy|reading manifest|error response from daemon"},
	{cause: diagnosis.TagNotFound, from: 404, to: 404},

	// Servers, without a number.
	{cause: diagnosis.RegistryError, any: "internal server error|bad gateway|service unavailable|service temporarily unavailable|gateway timeout|gateway time-out|server error|invalid character '<'|unknown: unknown error|registry is down|upstream connect error|no error details found"},

	// A mirror that is blamed in words, and nothing more particular.
	{cause: diagnosis.MirrorFailed, any: "mirror resolve retries|mirror with image component|request to mirror|registry mirror|mirror _|mirror url|all mirrors"},

	// The other side hung up; nothing says while what.
	{cause: diagnosis.NetworkUnreachable, any: ": eof$|... eof$|… eof$", with: "failed to copy|failed to do request|error pulling|pinging container registry|reading blob|failed to pull"},

	// Waiting, and what CRI-O's prefix says without more (ECONNREFUSED).
	{cause: diagnosis.ConnectionRefused, any: "registry is unavailable|registryunavailable"},
	{cause: diagnosis.PullTimeout, any: "context canceled|context cancelled|context deadline exceeded|no progress in|no progress for|progress timeout|request canceled|operation was canceled|pull was cancelled|pull cancelled|pull canceled|pull timed out|pull timeout|pulling image timed out|timed out after|operation timeout|code = canceled|code = deadlineexceeded|cancel pulling"},
	{cause: diagnosis.RuntimeError, any: "code = unavailable|code = unimplemented|code = resourceexhausted"},
}

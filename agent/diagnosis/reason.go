package diagnosis

// Reason is why a check was not run, or has no result.
type Reason string

// The reasons, each the sentence that says it, with the names of facts in braces, see
// [Failure.reasonDetail]. The zero value means that the check ran, or that its body says
// why not.
const (
	ReasonPending Reason = "still running"

	// not needed
	ReasonNameInvalid     Reason = "the image reference does not parse, so there is no registry to check"
	ReasonNoSecretRead    Reason = "the image reference does not parse, so no secret was read"
	ReasonSecretMalformed Reason = "the kubelet fails on the malformed secret before it contacts a registry"
	ReasonPolicyNever     Reason = "the pull policy is Never, so the kubelet contacts no registry"
	ReasonNotDisclosed    Reason = "whether the image is on the node is shown only to a pod that is known to be allowed to use it"
	ReasonNoRegistry      Reason = "the image has no registry"
	ReasonRuntimeAsksNone Reason = "the runtime contacts no registry"
	ReasonNoEndpoint      Reason = "the node's configuration has no endpoint for this image"
	ReasonNoEndpointNamed Reason = "the node's registry configuration names no endpoint"
	ReasonMirrorsOnly     Reason = "the node uses only mirrors"
	ReasonRetryNeedless   Reason = "the pull was not retried: the other checks are sufficient, or a retry would show no more"
	ReasonRetryOff        Reason = "pulls are not retried (--pull-retry=off)"
	ReasonRetrySandbox    Reason = "the pull of a sandbox image is not retried"
	ReasonNobodyToPull    Reason = "the node's configuration has no registry to pull from"
	ReasonNoPod           Reason = "no pod was given, so there is no pull secret"
	ReasonPullGoesOn      Reason = "the pull is in progress"

	// not possible
	ReasonNoRuntime             Reason = "no container runtime socket is available"
	ReasonMachineUnknown        Reason = "whether the image is on this machine is unknown: {error}"
	ReasonNoAPIServer           Reason = "no API server is available to read secrets from"
	ReasonSecretForbidden       Reason = "whypull is not allowed to read secret {secret}; ask your platform team to grant impersonate-on:associated-node:get, to add whypull's component kubelet-identity, or to grant get on it"
	ReasonShortNameUnresolvable Reason = "{image} has no registry, and how the runtime completes it is unknown"
	ReasonConfigUnusable        Reason = "whypull could not use the node's registry configuration"
	ReasonNoTransfers           Reason = "the container runtime does not report its transfers"
	ReasonRetrying              Reason = "the pull is being retried"
	ReasonRetryQueueFull        Reason = "the pull was not retried: too many retries of this namespace are waiting"

	// credentials
	ReasonNodeCredentialsUnseen Reason = "{file}, from which the kubelet takes credentials for all pods if it exists, is not mounted into whypull or not readable" //nolint:gosec // no credential
	ReasonProviderNear          Reason = "the kubelet's credential provider {provider} is for {pattern}, which does not match {name}: port and path have to be as in the image's name"
	ReasonProviderUnfilled      Reason = "a pattern in matchImages of the kubelet's credential provider {provider} has a placeholder that was not replaced by its value, so it does not match {name}"

	// names
	ReasonIsAddress    Reason = "{host} is an IP address, not a name"
	ReasonCutShort     Reason = "the check was cut short"
	ReasonNameUnasked  Reason = "the name could not be looked up in the pod: {why}"
	ReasonSandboxGone  Reason = "the pod's sandbox no longer exists"
	ReasonNoSandbox    Reason = "the pod has no sandbox, so it has no network"
	ReasonNoSocket     Reason = "no container runtime socket is available to look up the pod's sandbox"
	ReasonSandboxDown  Reason = "the pod's sandbox is not running, so it has no network"
	ReasonSandboxError Reason = "{why}"
	ReasonNoSettings   Reason = "the container runtime does not report the pod's DNS configuration"
	ReasonOwnServers   Reason = "the pod has its own resolvers, which whypull queries only from the network of the pod, and never at a link-local or metadata address"
	ReasonNoNetns      Reason = "the container runtime does not report the pod's network namespace"
	ReasonNotMounted   Reason = "whypull cannot enter the pod's network namespace: the node's /var/run/netns is not mounted"
	ReasonNotShared    Reason = "whypull cannot enter the pod's network namespace: /var/run/netns is mounted without mountPropagation HostToContainer"
	ReasonNoCapability Reason = "whypull cannot enter the pod's network namespace: the capability SYS_ADMIN is missing"
	ReasonNotEntered   Reason = "whypull could not enter the pod's network namespace"

	// registries
	ReasonUnresolved          Reason = "{endpoint} was not checked: its name does not resolve"
	ReasonNotLookedUp         Reason = "{endpoint} was not checked: its name could not be looked up"
	ReasonCredentialsWithheld Reason = "the runtime does not send the pod's credentials to {endpoint}, which is not the host of the image; it would use those of the node"
	ReasonLimited             Reason = "{endpoint} was not checked {with}: its rate limit is exceeded"
	ReasonLimitedForOthers    Reason = "{endpoint} was not checked {with}: its rate limit is exceeded by other pulls on this node"
	ReasonEnoughTried         Reason = "{endpoint} was not checked {with}: 8 other credentials were"
	ReasonQueueFull           Reason = "{endpoint} was not checked {with}: too many checks of this namespace are waiting for it"
	ReasonOutOfTime           Reason = "{endpoint} was not checked {with}: the examination ran out of time"
	ReasonManyUnderWay        Reason = "too many containers of this namespace are being examined"
	ReasonOtherSettings       Reason = "{endpoint} stands twice in the node's configuration, and gives a better answer with the other scheme, TLS settings or headers"
)

// ConfigProblem is a problem of a file of the node's registry configuration, by the name
// that package nodeconfig has for it.
type ConfigProblem string

// The problems that decide something, or that a remedy depends on.
const (
	ConfigAuthFileBroken       ConfigProblem = "AuthFileBroken"
	ConfigBlocked              ConfigProblem = "Blocked"
	ConfigCertificatesUnusable ConfigProblem = "CertificatesUnusable"
	ConfigDockerMirror         ConfigProblem = "DockerMirror"
	ConfigMirrorsBesidePath    ConfigProblem = "MirrorsBesidePath"
	ConfigNotGenerated         ConfigProblem = "NotGenerated"
	ConfigNotLoaded            ConfigProblem = "NotLoaded"
	ConfigPathElsewhere        ConfigProblem = "PathElsewhere"
	ConfigPathList             ConfigProblem = "PathList"
	ConfigPathUnset            ConfigProblem = "PathUnset"
	ConfigPolicyRejects        ConfigProblem = "PolicyRejects"
	ConfigPolicySigned         ConfigProblem = "PolicySigned"
	ConfigPolicyUnusable       ConfigProblem = "PolicyUnusable"
	ConfigSignatureStoreBroken ConfigProblem = "SignatureStoreBroken"
	ConfigWebSite              ConfigProblem = "WebSite"
)

// ConfigEffect is what a problem of the configuration means to a pull.
type ConfigEffect string

// The effects.
const (
	ConfigRefuses     ConfigEffect = "refuses"     // the runtime refuses the pull
	ConfigIneffective ConfigEffect = "ineffective" // a setting has no effect, or leads to no registry
	ConfigUnseen      ConfigEffect = "unseen"      // the runtime may do what whypull cannot see
	// A setting without effect would matter where the registry is not reached, or where its
	// certificate is not trusted, or in both cases.
	ConfigOfWay   ConfigEffect = "way"
	ConfigOfTrust ConfigEffect = "trust"
	ConfigOfBoth  ConfigEffect = "wayAndTrust"
	// It would matter where TLS to the registry fails in any way, where a proxy is used, or where
	// a request without credentials is refused.
	ConfigOfTLS    ConfigEffect = "tls"
	ConfigOfProxy  ConfigEffect = "proxy"
	ConfigOfAccess ConfigEffect = "access"
)

// Effect returns what the problem means to a pull; "" for one that is not known.
func (p ConfigProblem) Effect() ConfigEffect { return configProblems[p].effect }

// configProblems has the effect of each problem and the sentence that says it, with the
// file and, where it is known, the line in it.
var configProblems = map[ConfigProblem]struct { //nolint:gochecknoglobals // never written
	effect ConfigEffect
	says   string
}{
	"CertificateUnusable":      {ConfigRefuses, "{file} names a certificate or key that cannot be read or is not valid, so the runtime refuses the pull"},
	ConfigCertificatesUnusable: {ConfigRefuses, "{file} has a client certificate without its key, a key without its certificate, or a file that cannot be read or is not valid, so the runtime refuses the pull"},
	"LocationInvalid":          {ConfigRefuses, "{file} has a location that makes the name of this image invalid, so the runtime refuses the pull"},
	"EndpointInvalid":          {ConfigRefuses, "{file} has an endpoint that is not a URL, or a certificate that cannot be read or has no key, so the runtime refuses the pull"},
	"NotDirectory":             {ConfigRefuses, "{file} is a file, and containerd expects a directory of this name, so it refuses the pull"},
	ConfigAuthFileBroken:       {ConfigRefuses, "the node's credentials file {file} does not parse, so CRI-O fails every pull that brings no credentials"},
	ConfigPolicyUnusable:       {ConfigRefuses, "the node's signature policy {file} does not parse, so CRI-O refuses every pull"},
	ConfigSignatureStoreBroken: {ConfigRefuses, "{file}, where CRI-O looks up signature stores, does not parse or repeats an entry of another file, so CRI-O refuses every pull"},
	ConfigPolicyRejects:        {ConfigRefuses, "the node's signature policy {file} rejects the image, whatever signatures it has"},

	ConfigNotLoaded:         {ConfigIneffective, "{file} was changed after CRI-O had started; unless CRI-O was reloaded since, it uses the earlier version"},
	ConfigNotGenerated:      {ConfigIneffective, "{file} has settings for this registry that are not in effect: k3s or RKE2 was not restarted since they were changed"},
	"Unreadable":            {ConfigIneffective, "{file} does not parse{line}; the running runtime has read an earlier version"},
	"HostsUnreadable":       {ConfigIneffective, "{file} does not parse{line}; containerd ignores it"},
	"HostsWithoutTable":     {ConfigIneffective, "{file} has no [host] table, so containerd 1.x ignores it"},
	"HostsBadValue":         {ConfigIneffective, "{file} has a value that this version of containerd does not accept, so containerd ignores it"},
	"HostsMisnamed":         {ConfigIneffective, "{file} is ignored: the file must be named hosts.toml"},
	ConfigPathList:          {ConfigIneffective, "{file} is ignored: config_path lists several directories, which the transfer service of containerd takes for one"},
	ConfigMirrorsBesidePath: {ConfigIneffective, "{file} has registry.mirrors or configs.tls beside config_path, set or by default, so containerd's CRI plugin would not load; the running one has read an earlier version"},
	ConfigDockerMirror:      {ConfigIneffective, "{file} has a registry mirror that Docker does not accept (it needs https:// or http://, and no query or credentials), so Docker would not start; the running one has read an earlier version"},
	"TLSIgnored":            {ConfigIneffective, "{file} has TLS settings in registry.configs for this registry, which containerd ignores since 2.0"},
	"UpstreamName":          {ConfigIneffective, "{file} has no effect: containerd uses the registry name of the image, which is docker.io"},
	"FolderNotHost":         {ConfigIneffective, "{file} has no effect: containerd expects a directory named after the registry's host only"},
	"PortFolder":            {ConfigIneffective, "{file} has no effect: containerd expects a directory named host:port or host_port_"},
	"DefaultFolder":         {ConfigIneffective, "{file} has no effect: containerd reads a directory _default since 1.6.17"},
	"NoFolder":              {ConfigIneffective, "{file} has no effect: containerd expects a directory named after the registry's host"},
	ConfigPathUnset:         {ConfigIneffective, "{file} has no effect: config_path of containerd is not set"},
	ConfigPathElsewhere:     {ConfigIneffective, "{file} has no effect: config.toml has the registry settings under a plugin name of another version"},
	"NoCapableHost":         {ConfigIneffective, "{file} has no effect: none of its hosts has the capabilities that the image needs (pull, and resolve for a tag)"},
	ConfigWebSite:           {ConfigIneffective, "{file}{line} names Docker's web site as a registry; Docker Hub's registry is https://registry-1.docker.io"},
	"PathDoubled":           {ConfigIneffective, "{file}{line} has a host with a path that begins with /v2/, to which containerd appends another /v2, because override_path = true is missing"},
	"PathWithoutVersion":    {ConfigIneffective, "{file}{line} has an endpoint whose path lacks /v2, which the runtime does not append to it"},

	"ProxyNoConf":       {ConfigOfWay, "{file} sets a proxy without effect: systemd reads only drop-ins whose names end with .conf"},
	"ProxyNoSection":    {ConfigOfWay, "{file} sets a proxy without effect: it has no [Service] line"},
	"ProxyQuotes":       {ConfigOfWay, "{file} sets a proxy without effect: it has typographic quotes"},
	"ProxyOneWord":      {ConfigOfWay, "{file} sets a proxy without effect: systemd reads several variables in one pair of quotes as one"},
	"ProxyVariable":     {ConfigOfWay, "{file} sets a proxy without effect: systemd does not expand variables in Environment"},
	"ProxyPercent":      {ConfigOfWay, "{file} sets a proxy without effect: systemd ignores it for a percent sign that is not written twice"},
	"ProxyExport":       {ConfigOfWay, "{file} sets a proxy without effect: systemd does not support export in this file"},
	"ProxyHTTPOnly":     {ConfigOfWay, "{file} sets a proxy for http only; registries use https, which needs HTTPS_PROXY"},
	"ProxyOfDocker":     {ConfigOfWay, "{file} sets a proxy for Docker only, and the node's runtime is another one"},
	"ProxyOfLogins":     {ConfigOfWay, "{file} sets a proxy for login sessions only; services do not read it"},
	"ProxyNotRestarted": {ConfigOfWay, "{file} sets a proxy that the runtime's process does not have: it was not restarted since"},
	"OtherReference":    {ConfigOfWay, "{file} has a mirror that is not for this image: CRI-O asks it for digests only, or for tags only"},

	"SectionIgnored": {ConfigOfBoth, "{file} has registry settings under a plugin name of another configuration version, so they have no effect"},
	"NotImported":    {ConfigOfBoth, "{file} has registry settings, which have no effect because containerd's own file does not import it"},
	"OfDocker":       {ConfigOfBoth, "{file} has settings for the registry that only Docker reads, and the node's runtime is another one"},
	"DropInName":     {ConfigOfBoth, "{file} is not read: the names of drop-ins must end with .conf"},
	"RegistriesName": {ConfigOfBoth, "{file} is not read: k3s and RKE2 read registries.yaml"},
	"RegistriesKey":  {ConfigOfBoth, "{file} has settings for the registry that are not read: k3s and RKE2 read mirrors and configs"},

	"NotCrt":         {ConfigOfTrust, "{file} is not read: the names of files with certificate authorities must end with .crt"},
	"NotNamed":       {ConfigOfTrust, "{file} is not read: hosts.toml in the same directory does not name it as ca"},
	"OtherDirectory": {ConfigOfTrust, "{file} has certificates that are not in the directory that the runtime reads for the registry"},

	"CredentialKey": {ConfigOfAccess, "{file} has credentials, but none where the runtime looks: in configs, under the host[:port] that it asks"},
	"TLSKey":        {ConfigOfTLS, "{file} has TLS settings, but none where the runtime looks: in configs, under the host[:port] that it asks"},

	"ForeignKey":   {ConfigOfTLS, "containerd ignores the key in {file}{line}: it knows skip_verify, ca and client"},
	"NoProxyEntry": {ConfigOfProxy, "NO_PROXY ({file}) has the registry in a form that never matches: entries are hosts or networks with only commas in between, without scheme or path"},

	"Hidden":             {ConfigUnseen, "{file}, which the node's configuration names, is not mounted into whypull; the runtime may read it"},
	"CredentialUnusable": {ConfigUnseen, "{file} has credentials for the registry that whypull cannot use; the runtime sends them if the pod has none"},
	"CredentialHelper":   {ConfigUnseen, "{file} names a credential helper for the registry, which whypull does not run; the runtime does if the pod has no credentials"},
	ConfigPolicySigned:   {ConfigUnseen, "the node's signature policy {file} requires the image to be signed; whypull does not verify signatures"},
	ConfigBlocked:        {ConfigUnseen, "{file} on the node blocks the registry, or this part of it"},
}

package diagnosis

// Reason is why a check was not run, or has no result.
type Reason string

// The reasons. The zero value means that the check ran, or that its body says why
// not.
const (
	ReasonPending Reason = "Pending" // it still runs

	// not needed
	ReasonNameInvalid     Reason = "NameInvalid"
	ReasonNoSecretRead    Reason = "NoSecretRead"
	ReasonSecretMalformed Reason = "SecretMalformed"
	ReasonPolicyNever     Reason = "PolicyNever"
	ReasonNotDisclosed    Reason = "NotDisclosed"
	ReasonNoRegistry      Reason = "NoRegistry"
	ReasonNoRegistryFound Reason = "NoRegistryFound"
	ReasonRuntimeAsksNone Reason = "RuntimeAsksNone"
	ReasonNoEndpoint      Reason = "NoEndpoint"
	ReasonNoEndpointNamed Reason = "NoEndpointNamed"
	ReasonMirrorsOnly     Reason = "MirrorsOnly"
	ReasonRetryNeedless   Reason = "RetryNeedless"
	ReasonRetryOff        Reason = "RetryOff"
	ReasonRetrySandbox    Reason = "RetrySandbox"
	ReasonNobodyToPull    Reason = "NobodyToPull"
	ReasonNoPod           Reason = "NoPod"
	ReasonPullGoesOn      Reason = "PullGoesOn"

	// not possible
	ReasonNoRuntime             Reason = "NoRuntime"
	ReasonMachineUnknown        Reason = "MachineUnknown"
	ReasonNoAPIServer           Reason = "NoAPIServer"
	ReasonSecretForbidden       Reason = "SecretForbidden"
	ReasonShortNameUnresolvable Reason = "ShortNameUnresolvable"
	ReasonConfigUnusable        Reason = "ConfigUnusable"
	ReasonNoTransfers           Reason = "NoTransfers"
	ReasonRetrying              Reason = "Retrying"
	ReasonRetryQueueFull        Reason = "RetryQueueFull"

	// credentials
	ReasonProviderNear Reason = "ProviderNear" // the pattern nearly matches the image

	// names
	ReasonIsAddress    Reason = "IsAddress"
	ReasonCutShort     Reason = "CutShort"
	ReasonNameUnasked  Reason = "NameUnasked"
	ReasonSandboxGone  Reason = "SandboxGone"
	ReasonNoSandbox    Reason = "NoSandbox"
	ReasonNoSocket     Reason = "NoSocket"
	ReasonSandboxDown  Reason = "SandboxDown"
	ReasonSandboxError Reason = "SandboxError"
	ReasonNoSettings   Reason = "NoSettings"
	ReasonOwnServers   Reason = "OwnServers"
	ReasonNoNetns      Reason = "NoNetns"
	ReasonNotMounted   Reason = "NotMounted"
	ReasonNotShared    Reason = "NotShared"
	ReasonNoCapability Reason = "NoCapability"
	ReasonNotEntered   Reason = "NotEntered"

	// registries
	ReasonUnresolved          Reason = "Unresolved"
	ReasonNotLookedUp         Reason = "NotLookedUp"
	ReasonCredentialsWithheld Reason = "CredentialsWithheld"
	ReasonLimited             Reason = "Limited"
	ReasonLimitedForOthers    Reason = "LimitedForOthers"
	ReasonEnoughTried         Reason = "EnoughTried"
	ReasonQueueFull           Reason = "QueueFull"
	ReasonOutOfTime           Reason = "OutOfTime"
	ReasonManyUnderWay        Reason = "ManyUnderWay"
	ReasonOtherSettings       Reason = "OtherSettings"
)

// reasonSentences are the sentences of reasons that need no other facts.
var reasonSentences = map[Reason]string{ //nolint:gochecknoglobals // never written
	ReasonPending:         "still running",
	ReasonNameInvalid:     "the image reference does not parse, so there is no registry to check",
	ReasonNoSecretRead:    "the image reference does not parse, so no secret was read",
	ReasonSecretMalformed: "the kubelet fails on the malformed secret before it contacts a registry",
	ReasonPolicyNever:     "the pull policy is Never, so the kubelet contacts no registry",
	ReasonNotDisclosed:    "whether the image is on the node is shown only to a pod that is known to be allowed to use it",
	ReasonNoRegistry:      "the image has no registry",
	ReasonNoRegistryFound: "the image reference has no registry",
	ReasonRuntimeAsksNone: "the runtime contacts no registry",
	ReasonNoEndpoint:      "the node's configuration has no endpoint for this image",
	ReasonNoEndpointNamed: "the node's registry configuration names no endpoint",
	ReasonMirrorsOnly:     "the node uses only mirrors",
	ReasonRetryNeedless:   "the pull was not retried: the other checks are sufficient, or a retry would show no more",
	ReasonRetryOff:        "pulls are not retried (--pull-retry=off)",
	ReasonRetrySandbox:    "the pull of a sandbox image is not retried",
	ReasonNobodyToPull:    "the node's configuration has no registry to pull from",
	ReasonNoPod:           "no pod was given, so there is no pull secret",
	ReasonPullGoesOn:      "the pull is in progress",
	ReasonNoRuntime:       "no container runtime socket is available",
	ReasonNoAPIServer:     "no API server is available to read secrets from",
	ReasonConfigUnusable:  "whypull could not use the node's registry configuration",
	ReasonNoTransfers:     "the container runtime does not report its transfers",
	ReasonRetrying:        "the pull is being retried",
	ReasonCutShort:        "the check was cut short",
	ReasonManyUnderWay:    "too many containers of this namespace are being examined",
	ReasonRetryQueueFull:  "the pull was not retried: too many retries of this namespace are waiting",
	ReasonSandboxGone:     "the pod's sandbox no longer exists",
	ReasonNoSandbox:       "the pod has no sandbox, so it has no network",
	ReasonNoSocket:        "no container runtime socket is available to look up the pod's sandbox",
	ReasonSandboxDown:     "the pod's sandbox is not running, so it has no network",
	ReasonNoSettings:      "the container runtime does not report the pod's DNS configuration",
	ReasonOwnServers:      "the pod has its own resolvers, which whypull queries only from the network of the pod, and never at a link-local or metadata address",
	ReasonNoNetns:         "the container runtime does not report the pod's network namespace",
	ReasonNotMounted:      "whypull cannot enter the pod's network namespace: the node's /var/run/netns is not mounted",
	ReasonNotShared:       "whypull cannot enter the pod's network namespace: /var/run/netns is mounted without mountPropagation HostToContainer",
	ReasonNoCapability:    "whypull cannot enter the pod's network namespace: the capability SYS_ADMIN is missing",
	ReasonNotEntered:      "whypull could not enter the pod's network namespace",
}

// ConfigProblem is a problem of a file of the node's registry configuration.
type ConfigProblem string

// The problems.
const (
	// The runtime refuses the pull.
	ConfigCertificateUnusable  ConfigProblem = "CertificateUnusable"
	ConfigCertificatesUnusable ConfigProblem = "CertificatesUnusable"
	ConfigLocationInvalid      ConfigProblem = "LocationInvalid"
	ConfigEndpointInvalid      ConfigProblem = "EndpointInvalid"
	ConfigBlocked              ConfigProblem = "Blocked"

	ConfigAuthFileBroken       ConfigProblem = "AuthFileBroken"
	ConfigPolicyUnusable       ConfigProblem = "PolicyUnusable"
	ConfigSignatureStoreBroken ConfigProblem = "SignatureStoreBroken"
	ConfigPolicyRejects        ConfigProblem = "PolicyRejects"

	// Something has no effect.
	ConfigNotLoaded           ConfigProblem = "NotLoaded"
	ConfigNotGenerated        ConfigProblem = "NotGenerated"
	ConfigUnreadable          ConfigProblem = "Unreadable"
	ConfigHostsUnreadable     ConfigProblem = "HostsUnreadable"
	ConfigHostsWithoutTable   ConfigProblem = "HostsWithoutTable"
	ConfigHostsBadValue       ConfigProblem = "HostsBadValue"
	ConfigHostsMisnamed       ConfigProblem = "HostsMisnamed"
	ConfigPathList            ConfigProblem = "PathList"
	ConfigMirrorsBesidePath   ConfigProblem = "MirrorsBesidePath"
	ConfigTLSIgnored          ConfigProblem = "TLSIgnored"
	ConfigUpstreamName        ConfigProblem = "UpstreamName"
	ConfigFolderNotHost       ConfigProblem = "FolderNotHost"
	ConfigPortFolder          ConfigProblem = "PortFolder"
	ConfigNoFolder            ConfigProblem = "NoFolder"
	ConfigPathUnset           ConfigProblem = "PathUnset"
	ConfigPathElsewhere       ConfigProblem = "PathElsewhere"
	ConfigIgnoredWithoutTable ConfigProblem = "IgnoredWithoutTable"
	ConfigNoCapableHost       ConfigProblem = "NoCapableHost"
	ConfigMisplaced           ConfigProblem = "Misplaced"

	// An endpoint leads to no registry's API.
	ConfigWebSite            ConfigProblem = "WebSite"
	ConfigPathDoubled        ConfigProblem = "PathDoubled"
	ConfigPathWithoutVersion ConfigProblem = "PathWithoutVersion"

	// Something that would matter where the registry is not reached.
	ConfigSectionIgnored    ConfigProblem = "SectionIgnored"
	ConfigNotImported       ConfigProblem = "NotImported"
	ConfigProxyNoConf       ConfigProblem = "ProxyNoConf"
	ConfigProxyNoSection    ConfigProblem = "ProxyNoSection"
	ConfigProxyQuotes       ConfigProblem = "ProxyQuotes"
	ConfigProxyOneWord      ConfigProblem = "ProxyOneWord"
	ConfigProxyExport       ConfigProblem = "ProxyExport"
	ConfigProxyHTTPOnly     ConfigProblem = "ProxyHTTPOnly"
	ConfigProxyOfLogins     ConfigProblem = "ProxyOfLogins"
	ConfigProxyNotRestarted ConfigProblem = "ProxyNotRestarted"

	// Something cannot be seen, or is not run.
	ConfigHidden             ConfigProblem = "Hidden"
	ConfigCredentialUnusable ConfigProblem = "CredentialUnusable" //nolint:gosec // a name, not a secret
	ConfigCredentialHelper   ConfigProblem = "CredentialHelper"   //nolint:gosec // a name, not a secret
	ConfigPolicySigned       ConfigProblem = "PolicySigned"
)

// configSentences have the file as %s and, where it is known, the line as {line}.
var configSentences = map[ConfigProblem]string{ //nolint:gochecknoglobals,gosec // never written, no secret
	ConfigCertificateUnusable:  "%s names a certificate or key that cannot be read or is not valid, so the runtime refuses the pull",
	ConfigCertificatesUnusable: "%s has a client certificate without its key, a key without its certificate, or a file that cannot be read or is not valid, so the runtime refuses the pull",
	ConfigLocationInvalid:      "%s has a location that makes the name of this image invalid, so the runtime refuses the pull",
	ConfigEndpointInvalid:      "%s has an endpoint that is not a URL, or a certificate that cannot be read or has no key, so the runtime refuses the pull",
	ConfigBlocked:              "%s on the node blocks the registry, or this part of it",
	ConfigAuthFileBroken:       "the node's credentials file %s does not parse, so CRI-O fails every pull that brings no credentials",
	ConfigPolicyUnusable:       "the node's signature policy %s does not parse, so CRI-O refuses every pull",
	ConfigSignatureStoreBroken: "%s, where CRI-O looks up signature stores, does not parse or repeats an entry of another file, so CRI-O refuses every pull",
	ConfigPolicyRejects:        "the node's signature policy %s rejects the image, whatever signatures it has",
	ConfigPolicySigned:         "the node's signature policy %s requires the image to be signed; whypull does not verify signatures",
	ConfigNotLoaded:            "%s was changed after CRI-O had started; unless CRI-O was reloaded since, it uses the earlier version",
	ConfigNotGenerated:         "%s has settings for this registry that are not in effect: k3s or RKE2 was not restarted since they were changed",
	ConfigSectionIgnored:       "%s has registry settings under a plugin name of another configuration version, so they have no effect",
	ConfigNotImported:          "%s has registry settings, which have no effect because containerd's own file does not import it",
	ConfigProxyNoConf:          "%s sets a proxy without effect: systemd reads only drop-ins whose names end with .conf",
	ConfigProxyNoSection:       "%s sets a proxy without effect: it has no [Service] line",
	ConfigProxyQuotes:          "%s sets a proxy without effect: it has typographic quotes",
	ConfigProxyOneWord:         "%s sets a proxy without effect: systemd reads several variables in one pair of quotes as one",
	ConfigProxyExport:          "%s sets a proxy without effect: systemd does not support export in this file",
	ConfigProxyHTTPOnly:        "%s sets a proxy for http only; registries use https, which needs HTTPS_PROXY",
	ConfigProxyOfLogins:        "%s sets a proxy for login sessions only; services do not read it",
	ConfigProxyNotRestarted:    "%s sets a proxy that the runtime's process does not have: it was not restarted since",
	ConfigUnreadable:           "%s does not parse{line}; the running runtime has read an earlier version",
	ConfigHostsUnreadable:      "%s does not parse{line}; containerd ignores it",
	ConfigHostsWithoutTable:    "%s has no [host] table, so containerd 1.x ignores it",
	ConfigHostsBadValue:        "%s has a value that this version of containerd does not accept, so containerd ignores it",
	ConfigHostsMisnamed:        "%s is ignored: the file must be named hosts.toml",
	ConfigPathList:             "%s is ignored: config_path lists several directories, which the transfer service of containerd takes for one",
	ConfigMirrorsBesidePath:    "%s sets both config_path and registry.mirrors or configs.tls, so containerd's CRI plugin would not load; the running one has read an earlier version",
	ConfigTLSIgnored:           "%s has TLS settings in registry.configs for this registry, which containerd ignores since 2.0",
	ConfigUpstreamName:         "%s has no effect: containerd uses the registry name of the image, which is docker.io",
	ConfigFolderNotHost:        "%s has no effect: containerd expects a directory named after the registry's host only",
	ConfigPortFolder:           "%s has no effect: containerd expects a directory named host:port or host_port_",
	ConfigNoFolder:             "%s has no effect: containerd expects a directory named after the registry's host",
	ConfigPathUnset:            "%s has no effect: config_path of containerd is not set",
	ConfigPathElsewhere:        "%s has no effect: config.toml has the registry settings under a plugin name of another version",
	ConfigIgnoredWithoutTable:  "%s has no effect: it has no [host] table",
	ConfigNoCapableHost:        "%s has no effect: none of its hosts has the capabilities that the image needs (pull, and resolve for a tag)",
	ConfigMisplaced:            "%s has no effect: it is not where containerd looks",
	ConfigWebSite:              "%s{line} names Docker's web site as a registry; Docker Hub's registry is https://registry-1.docker.io",
	ConfigPathDoubled:          "%s{line} has a host with a path that begins with /v2/, to which containerd appends another /v2, because override_path = true is missing",
	ConfigPathWithoutVersion:   "%s{line} has an endpoint whose path lacks /v2, which the runtime does not append to it",
	ConfigHidden:               "%s, which the node's configuration names, is not mounted into whypull; the runtime may read it",
	ConfigCredentialUnusable:   "%s has credentials for the registry that whypull cannot use; the runtime sends them if the pod has none",
	ConfigCredentialHelper:     "%s names a credential helper for the registry, which whypull does not run; the runtime does if the pod has no credentials",
}

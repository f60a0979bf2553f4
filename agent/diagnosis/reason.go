package diagnosis

// Reason is why a check was not run, or came to nothing.
type Reason string

// The reasons. The zero value: the check was run, or its body says why not.
const (
	ReasonPending Reason = "Pending" // it still runs

	// whose answer would make no difference
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

	// what could not be asked
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
)

// reasonSentences are those that are the same whatever else is known.
var reasonSentences = map[Reason]string{ //nolint:gochecknoglobals // never written
	ReasonPending:         "still running",
	ReasonNameInvalid:     "the image reference does not parse, so there is nobody to ask",
	ReasonNoSecretRead:    "the image reference does not parse, so no secret is read",
	ReasonSecretMalformed: "the kubelet gives up over the malformed secret before it asks anybody",
	ReasonPolicyNever:     "the pull policy is Never, so nobody is asked",
	ReasonNotDisclosed:    "whether the image is on the node is disclosed only to a pod that is known to be allowed to use it",
	ReasonNoRegistry:      "the image names no registry",
	ReasonNoRegistryFound: "no registry was found in the image reference",
	ReasonRuntimeAsksNone: "the runtime asks nobody",
	ReasonNoEndpoint:      "the node's configuration has no endpoint that serves such a reference",
	ReasonNoEndpointNamed: "the node's registry configuration names no endpoint",
	ReasonMirrorsOnly:     "the node asks mirrors only",
	ReasonRetryNeedless:   "the pull was not tried again: the other checks settle it, or it could not settle more",
	ReasonRetryOff:        "pulls are not tried again (--pull-retry=off)",
	ReasonRetrySandbox:    "a sandbox's image is not pulled again",
	ReasonNobodyToPull:    "the node's configuration names nobody to pull from",
	ReasonNoPod:           "no pod is given, and so no pull secret",
	ReasonPullGoesOn:      "the pull goes on",
	ReasonNoRuntime:       "no container runtime socket to ask",
	ReasonNoAPIServer:     "no API server to read secrets from",
	ReasonConfigUnusable:  "whypull could not work with the node's registry configuration",
	ReasonNoTransfers:     "the container runtime does not tell what it receives",
	ReasonRetrying:        "the pull is being tried again",
	ReasonCutShort:        "the check was cut short",
	ReasonManyUnderWay:    "too many containers of this namespace are being examined",
	ReasonRetryQueueFull:  "the pull was not tried again: too many of this namespace wait for that",
	ReasonSandboxGone:     "the pod's sandbox has gone meanwhile",
	ReasonNoSandbox:       "the pod has no sandbox, and so no network",
	ReasonNoSocket:        "no container runtime socket to ask for the pod's sandbox",
	ReasonSandboxDown:     "the pod's sandbox does not run, so it has no network",
	ReasonNoSettings:      "the container runtime does not tell the pod's resolver settings",
	ReasonOwnServers:      "the pod chooses its own resolvers; whypull asks these only from the pod's own network, and never at a link-local or metadata address",
	ReasonNoNetns:         "the container runtime does not tell the pod's network namespace",
	ReasonNotMounted:      "whypull may not enter the pod's network namespace: the node's /var/run/netns is not mounted",
	ReasonNotShared:       "whypull may not enter the pod's network namespace: /var/run/netns is mounted without mountPropagation HostToContainer",
	ReasonNoCapability:    "whypull may not enter the pod's network namespace: the capability SYS_ADMIN is missing",
	ReasonNotEntered:      "whypull could not enter the pod's network namespace",
}

// ConfigProblem is what is wrong with a file of the node's registry configuration.
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
	ConfigUnreadable          ConfigProblem = "Unreadable"
	ConfigHostsUnreadable     ConfigProblem = "HostsUnreadable"
	ConfigHostsWithoutTable   ConfigProblem = "HostsWithoutTable"
	ConfigHostsMisnamed       ConfigProblem = "HostsMisnamed"
	ConfigPathList            ConfigProblem = "PathList"
	ConfigMirrorsBesidePath   ConfigProblem = "MirrorsBesidePath"
	ConfigUpstreamName        ConfigProblem = "UpstreamName"
	ConfigFolderNotHost       ConfigProblem = "FolderNotHost"
	ConfigPortFolder          ConfigProblem = "PortFolder"
	ConfigNoFolder            ConfigProblem = "NoFolder"
	ConfigPathUnset           ConfigProblem = "PathUnset"
	ConfigIgnoredWithoutTable ConfigProblem = "IgnoredWithoutTable"
	ConfigNoCapableHost       ConfigProblem = "NoCapableHost"
	ConfigMisplaced           ConfigProblem = "Misplaced"

	// An endpoint leads to no registry's API.
	ConfigWebSite            ConfigProblem = "WebSite"
	ConfigPathDoubled        ConfigProblem = "PathDoubled"
	ConfigPathWithoutVersion ConfigProblem = "PathWithoutVersion"

	// Something that would matter where the registry is not reached.
	ConfigSectionIgnored    ConfigProblem = "SectionIgnored"
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
	ConfigCredentialUnusable ConfigProblem = "CredentialUnusable"
	ConfigCredentialHelper   ConfigProblem = "CredentialHelper" //nolint:gosec // a name, not a secret
	ConfigPolicySigned       ConfigProblem = "PolicySigned"
)

// configSentences are about the file %s.
var configSentences = map[ConfigProblem]string{ //nolint:gochecknoglobals,gosec // never written, no secret
	ConfigCertificateUnusable:  "%s names a certificate or key that cannot be read or is none; the runtime refuses the pull over it",
	ConfigCertificatesUnusable: "%s has a client certificate without its key, a key without its certificate, or a file that cannot be read or is none; the runtime refuses the pull over it",
	ConfigLocationInvalid:      "%s has a location that makes no valid name of this image; the runtime refuses the pull over it",
	ConfigEndpointInvalid:      "%s has an endpoint that is no URL, or a certificate that cannot be read, or has no key; the runtime refuses the pull over it",
	ConfigBlocked:              "the node's %s blocks the registry, or this part of it",
	ConfigAuthFileBroken:       "the node's file of credentials %s does not parse; CRI-O fails over it in every pull that brings no credentials",
	ConfigPolicyUnusable:       "the node's signature policy %s does not parse; CRI-O refuses every pull over it",
	ConfigSignatureStoreBroken: "%s, where CRI-O looks up signature stores, does not parse; CRI-O refuses every pull over it",
	ConfigPolicyRejects:        "the node's signature policy %s rejects the image, whatever signatures it has",
	ConfigPolicySigned:         "the node's signature policy %s wants the image to be signed; whypull does not verify signatures",
	ConfigNotLoaded:            "%s was changed after CRI-O had started; unless CRI-O was told to reload since, it works with what was there before",
	ConfigSectionIgnored:       "%s has settings of registries in the section of a plugin that is called otherwise in a file of its version, so they have no effect",
	ConfigProxyNoConf:          "%s sets a proxy without effect: systemd reads only drop-ins whose names end with .conf",
	ConfigProxyNoSection:       "%s sets a proxy without effect: it has no line [Service]",
	ConfigProxyQuotes:          "%s sets a proxy without effect: its quotes are typographic ones",
	ConfigProxyOneWord:         "%s sets a proxy without effect: several variables in one pair of quotes are one to systemd",
	ConfigProxyExport:          "%s sets a proxy without effect: systemd knows no export in such a file",
	ConfigProxyHTTPOnly:        "%s sets a proxy for http alone; registries are asked over https, which takes HTTPS_PROXY",
	ConfigProxyOfLogins:        "%s sets a proxy for logins alone; services do not read it",
	ConfigProxyNotRestarted:    "%s sets a proxy that the runtime's process does not have: it was not restarted since",
	ConfigUnreadable:           "%s does not parse{line}; the runtime that is running has read another one",
	ConfigHostsUnreadable:      "%s does not parse{line}; containerd ignores it",
	ConfigHostsWithoutTable:    "%s has no [host] table, without which containerd 1.x ignores it",
	ConfigHostsMisnamed:        "%s is not read by anybody; the name is hosts.toml",
	ConfigPathList:             "%s is not read: config_path lists several folders, which containerd's transfer service takes for one",
	ConfigMirrorsBesidePath:    "%s sets registry.mirrors or configs.tls beside config_path, with which containerd's CRI plugin does not load; the one that is running has read another file",
	ConfigUpstreamName:         "%s has no effect: containerd looks for the registry's name in the image, which is docker.io",
	ConfigFolderNotHost:        "%s has no effect: containerd looks for a folder with the registry's host alone",
	ConfigPortFolder:           "%s has no effect: containerd looks for host:port or host_port_",
	ConfigNoFolder:             "%s has no effect: containerd looks in a folder named for the registry's host",
	ConfigPathUnset:            "%s has no effect: containerd's config_path is not set",
	ConfigIgnoredWithoutTable:  "%s has no effect: it has no [host] table",
	ConfigNoCapableHost:        "%s has no effect: none of its hosts has the capabilities that such a reference needs (pull, and resolve for a tag)",
	ConfigMisplaced:            "%s has no effect: it is not where containerd looks",
	ConfigWebSite:              "%s{line} names Docker's web site as a registry; Docker Hub's registry is https://registry-1.docker.io",
	ConfigPathDoubled:          "%s{line} has a host with a path that begins with /v2/, to which containerd appends another /v2; override_path = true is missing",
	ConfigPathWithoutVersion:   "%s{line} has an endpoint whose path lacks /v2, which the runtime does not append to it",
	ConfigHidden:               "%s, which the node's configuration names, cannot be seen by whypull, since it is not below what is mounted; the runtime may see it",
	ConfigCredentialUnusable:   "%s has a credential for the registry that whypull cannot use; the runtime sends it if the pod brings none",
	ConfigCredentialHelper:     "%s names a credential helper for the registry, which whypull does not run; the runtime does if the pod brings no credential",
}

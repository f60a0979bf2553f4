{{/* Prefix of all object names. */}}
{{- define "whypull.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* Labels of every object. kubectl why-pull finds the agents by name and component. */}}
{{- define "whypull.labels" -}}
app.kubernetes.io/name: whypull
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "whypull.selector" -}}
app.kubernetes.io/name: whypull
app.kubernetes.io/component: agent
{{- end }}

{{- define "whypull.image" -}}
{{- with .Values.image -}}
{{- $repository := printf "%s/%s" .registry .repository | trimPrefix "/" -}}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ .tag | default (printf "v%s" $.Chart.AppVersion) }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The platform's row, with the values under node in its place. */}}
{{- define "whypull.platform" -}}
{{- $all := .Files.Get "platforms.yaml" | fromYaml -}}
{{- $row := $all.kubeadm -}}
{{- range $field, $v := get $all .Values.platform }}{{ $_ := set $row $field $v }}{{ end -}}
{{- range $value, $field := dict "criSocket" "socket" "containerdConfig" "config" "registryConfigPath" "registryConfigPath" "kubeletRootDir" "kubelet" "seLinuxType" "seLinuxType" -}}
{{- with get $.Values.node $value }}{{ $_ := set $row $field . }}{{ end -}}
{{- end -}}
{{- if $row.unsupported }}{{ fail $row.unsupported }}{{ end -}}
{{- if .Values.nodeCredentials }}{{ $_ := set $row "nodeCredentials" true }}{{ end -}}
{{ toYaml $row }}
{{- end }}

{{/* Whether the agent reads secrets with the kubelet's certificate. */}}
{{- define "whypull.kubelet" -}}
{{- if or (eq .Values.secretAccess "kubelet") (and (eq .Values.secretAccess "auto") (not (include "whypull.impersonates" .))) }}true{{ end -}}
{{- end }}

{{/* Whether the agent impersonates its node: what secretAccess says, else where the API server can. */}}
{{- define "whypull.impersonates" -}}
{{- if or (eq .Values.secretAccess "impersonate") (and (has .Values.secretAccess (list "auto" "none")) (semverCompare ">=1.36-0" .Capabilities.KubeVersion.Version)) }}true{{ end -}}
{{- end }}

{{- define "slipway.labels" -}}
app.kubernetes.io/name: slipway
app.kubernetes.io/part-of: slipway
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
{{- end }}

{{- define "slipway.selector" -}}
app.kubernetes.io/name: slipway
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "slipway.name" -}}
{{ printf "%s-%s" .root.Release.Name .component | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "slipway.image" -}}
{{ .repository }}@{{ .digest }}
{{- end }}

{{- define "slipway.servingNamespace" -}}
{{ .Values.serving.namespace | default .Release.Namespace }}
{{- end }}

{{/* The settings that worker, gateway and API read: what values say, with the namespace that the chart gives its roles for. */}}
{{- define "slipway.clusterFile" -}}
{{- $settings := deepCopy .Values.cluster -}}
{{- $_ := set $settings "namespace" (include "slipway.servingNamespace" .) -}}
{{- if not (hasKey $settings "clients") -}}
{{- $own := dict "pods" (dict "app.kubernetes.io/part-of" "slipway" "app.kubernetes.io/instance" .Release.Name) "namespaces" (dict "kubernetes.io/metadata.name" .Release.Namespace) -}}
{{- $prometheus := dict "pods" (dict "app.kubernetes.io/name" "prometheus") "namespaces" dict -}}
{{- $_ := set $settings "clients" (list $own $prometheus) -}}
{{- end -}}
{{- if and .Values.secretHas.vllmApiKey (not (hasKey $settings "apiKey")) -}}
{{- if ne (include "slipway.servingNamespace" .) .Release.Namespace -}}
{{- fail "cluster.apiKey must name the Secret with vLLM's key in serving.namespace: a pod reads no Secret of another namespace" -}}
{{- end -}}
{{- $_ := set $settings "apiKey" (dict "name" .Values.secret "key" "vllm-api-key") -}}
{{- end -}}
{{ toYaml $settings }}
{{- end }}

{{/* Every pod: nothing runs as root, nothing writes to the image. */}}
{{- define "slipway.pod" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile: { type: RuntimeDefault }
enableServiceLinks: false
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "slipway.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "slipway.selector" . | nindent 8 }}
{{- end }}

{{- define "slipway.container" -}}
image: {{ include "slipway.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- define "slipway.env.secret" -}}
- name: {{ .name }}
  valueFrom: { secretKeyRef: { name: {{ .root.Values.secret }}, key: {{ .key }} } }
{{- end }}

{{- define "slipway.env.database" -}}
{{ include "slipway.env.secret" (dict "root" . "name" "DATABASE_URL" "key" "database-url") }}
{{- end }}

{{- define "slipway.env.temporal" -}}
- { name: TEMPORAL_ADDRESS, value: {{ .Values.temporal.address | quote }} }
{{- if .Values.temporal.tls }}
- { name: TEMPORAL_TLS, value: "true" }
{{- end }}
{{- if .Values.secretHas.temporalApiKey }}
{{ include "slipway.env.secret" (dict "root" . "name" "TEMPORAL_API_KEY" "key" "temporal-api-key") }}
{{- end }}
{{- if .Values.temporal.topology }}
- { name: SLIPWAY_TEMPORAL_TOPOLOGY, value: /etc/slipway/temporal.yaml }
{{- end }}
{{- end }}

{{- define "slipway.env.judge" -}}
{{- if .Values.judge.url }}
- { name: SLIPWAY_JUDGE_URL, value: {{ .Values.judge.url | quote }} }
- { name: SLIPWAY_JUDGE_MODEL, value: {{ required "judge.model goes with judge.url" .Values.judge.model | quote }} }
{{- if .Values.secretHas.judgeKey }}
{{ include "slipway.env.secret" (dict "root" . "name" "SLIPWAY_JUDGE_KEY" "key" "judge-key") }}
{{- end }}
{{- end }}
{{- end }}

{{- define "slipway.env.cluster" -}}
- { name: SLIPWAY_SERVING, value: kubernetes }
- { name: SLIPWAY_CLUSTER_FILE, value: /etc/slipway/cluster.yaml }
{{- if .Values.secretHas.vllmApiKey }}
{{ include "slipway.env.secret" (dict "root" . "name" "SLIPWAY_VLLM_API_KEY" "key" "vllm-api-key") }}
{{- end }}
{{- end }}

{{/* The builds of the worker, the current one first. */}}
{{- define "slipway.builds" -}}
{{- if .Values.worker.builds -}}
{{ .Values.worker.builds | toJson }}
{{- else -}}
{{ list (dict "build" (.Values.image.digest | trimPrefix "sha256:" | trunc 12) "digest" .Values.image.digest) | toJson }}
{{- end -}}
{{- end }}

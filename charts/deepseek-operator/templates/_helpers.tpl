{{/* Name of the objects of this release. */}}
{{- define "operator.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of the objects of the custom metrics API; its host name must fit into a certificate. */}}
{{- define "operator.customMetrics" -}}
{{- printf "%s-load" (include "operator.name" . | trunc 58 | trimSuffix "-") -}}
{{- end -}}

{{/* Labels that select the pods; they must not change between versions. */}}
{{- define "operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "operator.name" .) -}}
{{- else -}}
{{- required "serviceAccount.name is empty: with serviceAccount.create=false, set it to the name of an existing service account" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Additions to the operator's catalogue as JSON, which is valid YAML; empty if there are none. */}}
{{- define "operator.catalog" -}}
{{- if or .Values.catalog.accelerators .Values.catalog.models -}}
{{- .Values.catalog | mustToJson -}}
{{- end -}}
{{- end -}}

{{/* Image reference; takes (dict "image" IMAGE "value" "its path in values.yaml" "tag" DEFAULT). */}}
{{- define "operator.image" -}}
{{- $repository := required (printf "%s.repository is empty: no image is published yet, so build one (make images) and set it with --set %s.repository=..." .value .value) .image.repository -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.image.tag | default .tag) -}}
{{- end -}}
{{- end -}}

{{/* A map of strings as name=value,name=value. */}}
{{- define "operator.pairs" -}}
{{- $pairs := list -}}
{{- range $name, $value := . -}}
{{- $pairs = append $pairs (printf "%s=%s" $name $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end -}}

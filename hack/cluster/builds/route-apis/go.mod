module deepseek-operator.io/tests/cluster/route-apis

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	istio.io/istio v0.0.0-20260827124520-eed52ebb66ad
	sigs.k8s.io/gateway-api v1.6.0
)

module deepseek-operator.io/tests/cluster/pods

go 1.24.0

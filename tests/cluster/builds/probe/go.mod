module deepseek-operator.io/tests/cluster/probe

go 1.24.0

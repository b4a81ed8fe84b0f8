module deepseek-operator.io/tests/cluster/pause

go 1.24.0

"""FlashInfer's kernels, compiled when the image is built, so that no pod compiles when it starts.

FlashInfer compiles a kernel with nvcc when it is first used: minutes, a compiler of gigabytes in
the image, and a first request that waits. What is used follows from the heads of DeepSeek's models
and from the GPU, so it is compiled ahead (`python -m deepseek_server.kernels build`), and a start
only asks whether everything is there.
"""

"""FlashInfer's kernels, compiled when the image is built, so that no pod compiles at startup.

FlashInfer compiles a kernel with nvcc on first use. That takes minutes, needs a compiler of
gigabytes in the image, and delays the first request. The set of kernels follows from the heads of
DeepSeek's models and from the GPU, so they are compiled ahead of time
(`python -m deepseek_server.kernels build`), and startup only checks that they exist.
"""

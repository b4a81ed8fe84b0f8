"""Releases: one version in all places, the changelog, and the files in dist/. See RELEASE.md."""

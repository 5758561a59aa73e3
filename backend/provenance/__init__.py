"""Where the RPMs of a build come from: a SLSA statement and an SPDX document beside them.

`statement` and `sbom` make the documents of plain values, `packages` reads those out of RPM files,
`record` writes them into a result directory, `compare` tells what two RPMs differ in.
"""

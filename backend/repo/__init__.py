"""How a repository's metadata is made and swapped; `backend.repository` is the door to it,
and to repairs `backend.repository_repair`.

`chunks` has createrepo_c describe packages, `writer` makes metadata files of such descriptions
and of compressed blocks that exist already, `manifest` says what is in which block, `states`
keeps what was published, `swap` puts it where readers look, `tickets` are the wishes of those who
publish, and `transaction` fulfils all of them at once.
"""

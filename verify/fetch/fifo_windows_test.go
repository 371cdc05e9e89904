package fetch

import "os"

// fifo makes what is no regular file: there are no named pipes in folders here.
func fifo(path string) error { return os.Mkdir(path, 0o700) }

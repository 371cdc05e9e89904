package main

// int80 makes a 32-bit system call, with zero arguments.
func int80(nr uint32) int32

"""Files as a running program has them: names, open files, pipes, devices; and execve()'s program loader."""

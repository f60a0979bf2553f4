module whypull.dev/lab/guest

go 1.26.0

# Run by root on the test VM: fills /data to the last byte and the last inode, in the top
# layer of the container filler. Root may also use the blocks that are reserved.
set -eu
layer=$(docker inspect filler -f '{{.GraphDriver.Data.UpperDir}}')
cd "$layer"
cat /dev/zero >bytes 2>/dev/null || :
# A directory of many names needs blocks, too: not one of them is left afterwards.
truncate -s -33554432 bytes
mkdir files
free=$(df --output=iavail /data | tail -n 1)
seq "$free" | (cd files && xargs touch) 2>/dev/null || :
cat /dev/zero >>bytes 2>/dev/null || :
df --output=avail,iavail /data | tail -n 1

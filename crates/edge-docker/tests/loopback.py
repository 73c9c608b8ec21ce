# Sends Ethernet frames of a container: INTERFACE MAC SOURCE DESTINATION PORT TEXT.
import socket
import struct
import sys

interface, mac, source, destination, port, text = sys.argv[1:]


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


frames = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
frames.bind((interface, 0x0800))
own = frames.getsockname()[4]
datagram = struct.pack("!HHHH", 40000, int(port), 8 + len(text), 0) + text.encode()
addresses = socket.inet_aton(source) + socket.inet_aton(destination)
head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0)
head = head[:10] + struct.pack("!H", checksum(head + addresses)) + addresses
target = bytes.fromhex(mac.replace(":", ""))
frames.send(target + own + struct.pack("!H", 0x0800) + head + datagram)

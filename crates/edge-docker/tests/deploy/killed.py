# Runs on the device, in the place of the engine's socket: forwards all connections to the
# engine, and kills it as soon as it has answered the request with the given number, before
# the answer is forwarded.
import os
import signal
import socket
import sys
import threading

front, back, last = "/run/docker.sock", "/run/engine.sock", int(sys.argv[1])
# The socket of the engine keeps its connections under another name.
os.rename(front, back)
listener = socket.socket(socket.AF_UNIX)
listener.bind(front)
listener.listen(128)
lock = threading.Lock()
count = 0
print("ready", os.getpid(), flush=True)


def forward(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(client):
    global count
    engine = socket.socket(socket.AF_UNIX)
    try:
        engine.connect(back)
        head = client.recv(65536)
        with lock:
            count += 1
            is_last = count == last
        engine.sendall(head)
        threading.Thread(target=forward, args=(client, engine), daemon=True).start()
        answer = engine.recv(65536)
        if is_last:
            with open("/run/docker.pid") as pid:
                os.kill(int(pid.read()), signal.SIGKILL)
            # The engine that comes next makes its own socket.
            os._exit(0)
        client.sendall(answer)
        forward(engine, client)
    except OSError:
        pass
    finally:
        client.close()


while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()

"""The SSH transport of a machine: paramiko's, with what it gets wrong put right."""

from __future__ import annotations

import signal
import socket
import threading
from typing import Any
from weakref import WeakKeyDictionary

from orchestrator.lean import without

with without("invoke"):  # for ``Match exec`` in configurations of ssh, which we do not read
    import paramiko as paramiko
    from paramiko.common import MSG_CHANNEL_CLOSE, MSG_CHANNEL_REQUEST, cMSG_CHANNEL_CLOSE

UNKNOWN_SIGNAL = 127  # stands for the number of a signal whose name we do not know: the code is 255
FIRST_OF_CONNECTIONS = 80  # smaller numbers of messages are the transport's and the login's (RFC 4250, 4.1.2)


class Transport(paramiko.Transport):
    """paramiko's, fixed.

    It sends what one thread has of a channel after another thread ended the channel, and the server then leaves. It
    drops what a server says of a process that a signal ended. It leaves a channel open that the server opens when
    nobody waits for it any more, and with it the guest's connection to a service. And it answers from the thread that
    reads: while both sides agree on new keys (after half a gigabyte, say) an answer has to wait for what only this
    thread can read. Such answers are postponed here.

    Attributes:
        signals: by channel; its ``exit_status`` is then 128 and the signal's number, as a shell puts it.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._postponed: list[paramiko.Message] = []
        self._order = threading.RLock()  # of the messages of a channel; a channel that is collected may send its end
        self.signals: WeakKeyDictionary[paramiko.Channel, str] = WeakKeyDictionary()
        self._channel_handler_table = {
            **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
            MSG_CHANNEL_REQUEST: self._channel_request,
        }

    def _parse_channel_open_success(self, message: paramiko.Message) -> None:
        begin = message.packet.tell()
        ours, theirs = message.get_int(), message.get_int()
        channel = self._channels.get(ours)  # type: ignore[attr-defined]
        if channel is None:
            close = paramiko.Message()
            close.add_byte(cMSG_CHANNEL_CLOSE)
            close.add_int(theirs)
            self._send_user_message(close)
            return
        message.packet.seek(begin)
        channel.transport = _OfChannel(self)
        super()._parse_channel_open_success(message)  # type: ignore[misc]

    def _channel_request(self, channel: paramiko.Channel, message: paramiko.Message) -> None:
        begin = message.packet.tell()
        kind = message.get_string()
        if kind != b"exit-signal":
            message.packet.seek(begin)
            channel._handle_request(message)  # type: ignore[attr-defined]
            return
        message.get_boolean()  # it never wants a reply
        name = f"SIG{message.get_string().decode('ascii', 'replace')}"
        number = signal.Signals[name].value if name in signal.Signals.__members__ else UNKNOWN_SIGNAL
        self.signals[channel] = name
        channel.exit_status = 128 + number
        channel.status_event.set()

    def _send_user_message(self, message: paramiko.Message) -> None:
        if threading.current_thread() is self:
            self._send_message(message)
        else:
            super()._send_user_message(message)  # type: ignore[misc]

    def _send_message(self, message: paramiko.Message) -> None:
        ours = message.asbytes()[0] >= FIRST_OF_CONNECTIONS and threading.current_thread() is self
        if ours and not self.clear_to_send.is_set():
            self._postponed.append(message)
            return
        with self._order:
            sender = getattr(message, "sender", None)
            if sender is not None and sender.ended:
                return
            super()._send_message(message)  # type: ignore[misc]
            if sender is not None and message.asbytes()[0] == MSG_CHANNEL_CLOSE:
                sender.ended = True

    def _parse_newkeys(self, message: paramiko.Message) -> None:
        super()._parse_newkeys(message)  # type: ignore[misc]
        postponed, self._postponed = self._postponed, []
        for each in postponed:
            self._send_message(each)


class _OfChannel:
    """The transport as one channel has it: what it sends carries the sender.

    Attributes:
        ended: the channel's end was sent; nothing may follow it.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.ended = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _send_user_message(self, message: paramiko.Message) -> None:
        message.sender = self  # type: ignore[attr-defined]
        self._transport._send_user_message(message)

"""What can be done with a conversation as a whole, and with the sampling presets."""

import asyncio
import time

from textual import work

from picochat.errors import UserError
from workbench.config import Presets
from workbench.conversations import Conversation
from workbench.exports import export_conversation, export_preferences
from workbench.screens.dialogs import Ask, AskPage, Choose, Confirm, typed_path
from workbench.screens.message_actions import MessageActionsScreen
from workbench.store import Summary, head_row
from workbench.visible import visible
from workbench.widgets.messages import changed_options
from workbench.widgets.prompt import Prompt

CHAT_HINT = """\
A new conversation. Ask something below.

 F3  choose a checkpoint     ^O  earlier conversations
 F5  sampling                ^T  raw completion
 F6  colour every token      ^P  every command
 alt+↑  walk the tokens      F1  every key
"""
RAW_HINT = "Raw completion: type the beginning of a text, and the model goes on with it. ^T changes to chat."


class ConversationActionsScreen(MessageActionsScreen):
    """Keeps, finds, names, deletes and exports conversations."""

    async def show(self, conversation: Conversation) -> None:
        """Show another conversation."""
        self.conversation = conversation
        hint = RAW_HINT if conversation.is_raw else CHAT_HINT
        await self.transcript.show(conversation, hint)
        self.told_change()

    def told_change(self) -> None:
        """The conversation is another one, or has another name."""

    def tell(self, error: UserError | OSError) -> None:
        """Show what went wrong."""
        where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        self.notify(visible(where), severity="error", markup=False)

    async def action_new(self) -> None:
        """Begin a new conversation."""
        if self.is_idle():
            new = Conversation(system=self.conversation.system, is_raw=self.conversation.is_raw)
            await self.show(new)
            self.query_one(Prompt).focus()

    async def action_mode(self) -> None:
        """Change between chat and raw completion, in a new conversation."""
        if self.is_idle():
            await self.show(Conversation(is_raw=not self.conversation.is_raw))
            self.query_one(Prompt).focus()

    @work(exclusive=True, group="dialog")
    async def action_open(self) -> None:
        """Search the conversations that were kept."""

        def find(words: str) -> list[tuple[str, str]]:
            return [(found.id, _line(found)) for found in self.store.find(words)]

        dialog = Choose(
            "conversations", find, delete=self.store.delete, empty="no conversation holds these words"
        )
        chosen = await self.app.push_screen_wait(dialog)
        if chosen is None:
            return
        try:
            conversation = await asyncio.to_thread(self.store.read, chosen)
        except UserError as error:
            self.tell(error)
            return
        if self.is_idle():
            await self.show(conversation)
            self.query_one(Prompt).focus()

    @work(exclusive=True, group="dialog")
    async def action_rename(self) -> None:
        """Give the conversation another title."""
        conversation = self.conversation
        title = await self.app.push_screen_wait(Ask("title", conversation.name))
        if title is not None and self.is_still(conversation):
            conversation.title = title.strip()
            self._keep_head()

    def _keep_head(self) -> None:
        # What nobody has spoken in leaves no file.
        if self.conversation.nodes:
            self.save(head_row(self.conversation))
        self.told_change()

    @work(exclusive=True, group="dialog")
    async def action_delete(self) -> None:
        """Delete the conversation."""
        conversation = self.conversation
        if not conversation.nodes or not self.is_idle():
            return
        question = f"delete the conversation {visible(conversation.name)!r}?"
        is_meant = await self.app.push_screen_wait(Confirm(question))
        # What was asked for before may have come meanwhile.
        if is_meant and self.is_still(conversation) and self.is_idle():
            try:
                self.store.delete(conversation.id)
            except OSError as error:
                self.tell(error)
                return
            await self.show(Conversation())

    @work(exclusive=True, group="dialog")
    async def action_system(self) -> None:
        """Set the system prompt of this conversation."""
        conversation = self.conversation
        question = "system prompt of this conversation (empty: none)"
        system = await self.app.push_screen_wait(AskPage(question, conversation.system))
        if system is not None and self.is_still(conversation):
            conversation.system = system.strip()
            self._keep_head()

    # Exports

    @work(exclusive=True, group="dialog")
    async def action_export(self) -> None:
        """Write the conversation to a file."""
        conversation = self.conversation
        question = "export to (.md to read, .jsonl to add it to a file for SFT)"
        path = await self.app.push_screen_wait(Ask(question, f"{conversation.id}.md"))
        if path is None:
            return
        try:
            export_conversation(conversation, typed_path(path))
        except (UserError, OSError) as error:
            self.tell(error)
        else:
            self.notify(f"exported to {visible(path)}", markup=False)

    @work(exclusive=True, group="dialog")
    async def action_export_preferences(self) -> None:
        """Write the preference pairs of all conversations."""
        question = "preference pairs of all conversations, as a new .jsonl file"
        path = await self.app.push_screen_wait(Ask(question, "preferences.jsonl"))
        if path is None:
            return
        try:
            conversations = map(self.store.read, self.store.ids())
            count = export_preferences(conversations, typed_path(path))
        except (UserError, OSError) as error:
            self.tell(error)
        else:
            self.notify(f"{count} pair{'s' if count > 1 else ''} in {visible(path)}", markup=False)

    # Presets

    @work(exclusive=True, group="dialog")
    async def action_load_preset(self) -> None:
        """Take the sampling options of a preset."""
        presets = Presets(self.workbench.config_folder)

        def find(words: str) -> list[tuple[str, str]]:
            rows = []
            for name, options in presets.read().items():
                values = {option: getattr(options, option) for option in self.panel.values()}
                row = f"{name}   {' · '.join(changed_options(values))}"
                if all(word in row.casefold() for word in words.casefold().split()):
                    rows.append((name, row))
            return rows

        chosen = await self.app.push_screen_wait(Choose("presets", find, delete=presets.delete))
        try:
            if chosen is not None:
                self.panel.set_options(presets.read()[chosen])
        except (UserError, KeyError) as error:
            self.notify(visible(str(error)), severity="error", markup=False)

    @work(exclusive=True, group="dialog")
    async def action_save_preset(self) -> None:
        """Keep the sampling options under a name."""
        name = await self.app.push_screen_wait(Ask("keep these options as the preset named"))
        if not name or not name.strip():
            return
        try:
            Presets(self.workbench.config_folder).save(name.strip(), self.panel.values())
        except (UserError, OSError) as error:
            self.tell(error)
        else:
            self.notify(f"kept as {visible(name.strip())}", markup=False)


def _line(summary: Summary) -> str:
    from picochat.commands.runs_view import age

    count = summary.num_messages
    ago = age(max(time.time() - summary.modified, 0))
    return f"{summary.name}   ({count} message{'' if count == 1 else 's'}, {ago} ago)"

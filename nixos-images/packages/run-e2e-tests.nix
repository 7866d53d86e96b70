# The suite's command with what it needs: Node.js, Playwright's test runner, and the browsers of the same Playwright.
# `home` is what /opt/e2e holds on both images: node_modules/, and the scripts beside run-e2e-tests.
{
  lib,
  runCommand,
  makeWrapper,
  linkFarm,
  nodejs,
  playwright-driver,
  playwright-test,
  coreutils,
  gnugrep,
  gnused,
  util-linux,
  # Whether the whole Chromium is there for a visible browser, or just its headless shell.
  headed ? false,
  playwrightBrowsers ? playwright-driver.selectBrowsers {
    withChromium = headed;
    withFirefox = false;
    withWebkit = false;
  },
}:
assert lib.assertMsg (lib.versions.majorMinor playwright-test.version == lib.versions.majorMinor playwright-driver.version)
  "Playwright's runner (${playwright-test.version}) and its browsers (${playwright-driver.version}) do not match";
let
  tools = ../../orchestrator/images/bases/browser;
  home = linkFarm "e2e-home" {
    node_modules = "${playwright-test}/lib/node_modules";
    "event-reporter.cjs" = tools + "/event-reporter.cjs";
    "prepared-runner.cjs" = tools + "/prepared-runner.cjs";
    "browsers.cjs" = tools + "/browsers.cjs";
    "scaled-config.ts" = tools + "/scaled-config.ts";
  };
  path = [
    nodejs
    coreutils
    gnugrep
    gnused
    util-linux
  ];
in
runCommand "run-e2e-tests"
  {
    nativeBuildInputs = [ makeWrapper ];
    passthru = {
      inherit home;
      browsers = playwrightBrowsers;
      playwright = playwright-test.version;
    };
    meta = {
      description = "Runs a Playwright suite against the server and reports each test";
      mainProgram = "run-e2e-tests";
    };
  }
  ''
    install -D ${tools + "/run-e2e-tests"} $out/bin/run-e2e-tests
    patchShebangs $out/bin
    wrapProgram $out/bin/run-e2e-tests \
      --prefix PATH : ${lib.makeBinPath path} \
      --set-default PLAYWRIGHT_BROWSERS_PATH ${playwrightBrowsers} \
      --set-default PLAYWRIGHT_SKIP_VALIDATE_HOST_REQUIREMENTS 1
  ''
